"""One endpoint is marked, the other named; the splitting step is the start."""

from metaflow import FlowSpec, step


class HalfMarkedFlow(FlowSpec):
    @step(start=True)
    def begin(self):
        self.next(self.left, self.right)

    @step
    def left(self):
        self.side = "left"
        self.next(self.meet)

    @step
    def right(self):
        self.side = "right"
        self.next(self.meet)

    @step
    def meet(self, inputs):
        self.sides = [i.side for i in inputs]
        self.next(self.end)

    @step
    def end(self):
        print(self.sides)


if __name__ == "__main__":
    HalfMarkedFlow()
