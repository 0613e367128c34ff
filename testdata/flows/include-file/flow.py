"""A file that is stored with the run, as text and as bytes."""

from metaflow import FlowSpec, IncludeFile, step


class IncludeFlow(FlowSpec):
    table = IncludeFile("table", default="table.csv", help="a table")
    raw = IncludeFile("raw", is_text=False, default="table.csv")

    @step
    def start(self):
        self.rows = [line.split(",") for line in self.table.splitlines()]
        self.size = len(self.raw)
        self.next(self.end)

    @step
    def end(self):
        print(self.rows, self.size)


if __name__ == "__main__":
    IncludeFlow()
