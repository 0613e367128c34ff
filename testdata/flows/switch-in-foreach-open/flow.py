"""The branches of a switch in a foreach body lead to the join without meeting before."""

from metaflow import FlowSpec, step


class OpenSwitchFlow(FlowSpec):
    @step
    def start(self):
        self.numbers = [10, 25]
        self.next(self.test, foreach="numbers")

    @step
    def test(self):
        self.size = "big" if self.input > 20 else "small"
        self.next({"big": self.big, "small": self.small}, condition="size")

    @step
    def big(self):
        self.out = "B"
        self.next(self.collect)

    @step
    def small(self):
        self.out = "s"
        self.next(self.collect)

    @step
    def collect(self, inputs):
        self.outs = [i.out for i in inputs]
        self.next(self.end)

    @step
    def end(self):
        print(self.outs)


if __name__ == "__main__":
    OpenSwitchFlow()
