"""A foreach over a tuple of values of many types."""

from metaflow import FlowSpec, step


class ItemTypesFlow(FlowSpec):
    @step
    def start(self):
        self.things = (1, 2.5, "three", None, True, {"four": 4}, [5, 5], "x" * 50)
        self.next(self.look, foreach="things")

    @step
    def look(self):
        self.kind = type(self.input).__name__
        self.copy = self.input
        self.next(self.collect)

    @step
    def collect(self, inputs):
        self.kinds = [i.kind for i in inputs]
        self.copies = [i.copy for i in inputs]
        self.next(self.end)

    @step
    def end(self):
        print(self.kinds)


if __name__ == "__main__":
    ItemTypesFlow()
