"""A foreach body of three steps."""

from metaflow import FlowSpec, step


class BodyFlow(FlowSpec):
    @step
    def start(self):
        self.items = [3, 1, 2]
        self.next(self.first, foreach="items")

    @step
    def first(self):
        self.x = self.input
        self.next(self.second)

    @step
    def second(self):
        self.x = self.x * 10 + self.index
        self.next(self.third)

    @step
    def third(self):
        self.stack = [(i, n, v) for i, n, v in self.foreach_stack()]
        self.next(self.collect)

    @step
    def collect(self, inputs):
        self.all = [i.x for i in inputs]
        self.stacks = [i.stack for i in inputs]
        self.next(self.end)

    @step
    def end(self):
        print(self.all)


if __name__ == "__main__":
    BodyFlow()
