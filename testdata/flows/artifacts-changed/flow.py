"""Artifacts that are changed in place, deleted and written again."""

from metaflow import FlowSpec, step


class ChangedFlow(FlowSpec):
    @step
    def start(self):
        self.items = ["a"]
        self.mapping = {"x": 1}
        self.gone = "soon"
        self.next(self.change)

    @step
    def change(self):
        self.items.append("b")
        self.mapping["y"] = 2
        self.gone = None
        self.next(self.end)

    @step
    def end(self):
        self.items += ["c"]
        print(self.items, self.mapping, self.gone)


if __name__ == "__main__":
    ChangedFlow()
