"""A static split in the body of a foreach."""

from metaflow import FlowSpec, step


class SplitInForeachFlow(FlowSpec):
    @step
    def start(self):
        self.items = [5, 6]
        self.next(self.body, foreach="items")

    @step
    def body(self):
        self.item = self.input
        self.next(self.square, self.negate)

    @step
    def square(self):
        self.out = self.item**2
        self.next(self.both)

    @step
    def negate(self):
        self.out = -self.item
        self.next(self.both)

    @step
    def both(self, inputs):
        self.outs = [inputs.square.out, inputs.negate.out]
        self.next(self.all)

    @step
    def all(self, inputs):
        self.everything = [i.outs for i in inputs]
        self.next(self.end)

    @step
    def end(self):
        print(self.everything)


if __name__ == "__main__":
    SplitInForeachFlow()
