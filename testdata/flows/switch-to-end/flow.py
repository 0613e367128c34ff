"""One case goes straight to the end."""

from metaflow import FlowSpec, step


class SkipFlow(FlowSpec):
    @step
    def start(self):
        self.needed = "no"
        self.next({"yes": self.work, "no": self.end}, condition="needed")

    @step
    def work(self):
        self.worked = True
        self.next(self.end)

    @step
    def end(self):
        self.finished = True


if __name__ == "__main__":
    SkipFlow()
