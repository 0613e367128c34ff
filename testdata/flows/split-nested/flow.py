"""A split in a branch of a split."""

from metaflow import FlowSpec, step


class NestedSplitFlow(FlowSpec):
    @step
    def start(self):
        self.next(self.a, self.b)

    @step
    def a(self):
        self.next(self.a1, self.a2)

    @step
    def a1(self):
        self.x = 1
        self.next(self.join_a)

    @step
    def a2(self):
        self.x = 2
        self.next(self.join_a)

    @step
    def join_a(self, inputs):
        self.x = sum(i.x for i in inputs)
        self.next(self.join)

    @step
    def b(self):
        self.x = 10
        self.next(self.join)

    @step
    def join(self, inputs):
        self.x = sum(i.x for i in inputs)
        self.next(self.end)

    @step
    def end(self):
        print(self.x)


if __name__ == "__main__":
    NestedSplitFlow()
