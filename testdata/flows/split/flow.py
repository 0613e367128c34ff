"""A static split and its join."""

from metaflow import FlowSpec, step


class SplitFlow(FlowSpec):
    @step
    def start(self):
        self.base = 10
        self.next(self.add, self.multiply)

    @step
    def add(self):
        self.result = self.base + 1
        self.next(self.join)

    @step
    def multiply(self):
        self.result = self.base * 2
        self.next(self.join)

    @step
    def join(self, inputs):
        self.added = inputs.add.result
        self.multiplied = inputs.multiply.result
        self.base = inputs.add.base
        self.next(self.end)

    @step
    def end(self):
        self.sum = self.added + self.multiplied + self.base


if __name__ == "__main__":
    SplitFlow()
