"""A switch in one branch of a static split; both of its branches lead to the join."""

from metaflow import FlowSpec, step


class SwitchInSplitFlow(FlowSpec):
    @step
    def start(self):
        self.next(self.choose, self.other)

    @step
    def choose(self):
        self.pick = "x"
        self.next({"x": self.x, "y": self.y}, condition="pick")

    @step
    def x(self):
        self.v = "x"
        self.next(self.join)

    @step
    def y(self):
        self.v = "y"
        self.next(self.join)

    @step
    def other(self):
        self.v = "other"
        self.next(self.join)

    @step
    def join(self, inputs):
        self.vs = sorted(i.v for i in inputs)
        self.next(self.end)

    @step
    def end(self):
        print(self.vs)


if __name__ == "__main__":
    SwitchInSplitFlow()
