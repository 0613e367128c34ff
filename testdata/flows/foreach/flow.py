"""One task per item of a list."""

from metaflow import FlowSpec, step


class ForeachFlow(FlowSpec):
    @step
    def start(self):
        self.words = ["alpha", "beta", "gamma"]
        self.next(self.measure, foreach="words")

    @step
    def measure(self):
        self.length = len(self.input)
        self.place = self.index
        self.next(self.collect)

    @step
    def collect(self, inputs):
        self.lengths = [i.length for i in inputs]
        self.places = [i.place for i in inputs]
        self.next(self.end)

    @step
    def end(self):
        print(self.lengths)


if __name__ == "__main__":
    ForeachFlow()
