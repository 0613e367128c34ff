"""Each task of a foreach takes a branch of its own; the join reads the step where they meet."""

from metaflow import FlowSpec, step


class SwitchInForeachFlow(FlowSpec):
    @step
    def start(self):
        self.numbers = [1, 2, 3, 4]
        self.next(self.test, foreach="numbers")

    @step
    def test(self):
        self.n = self.input
        self.parity = "even" if self.n % 2 == 0 else "odd"
        self.next({"even": self.even, "odd": self.odd}, condition="parity")

    @step
    def even(self):
        self.out = self.n // 2
        self.next(self.after)

    @step
    def odd(self):
        self.out = 3 * self.n + 1
        self.next(self.after)

    @step
    def after(self):
        self.pair = (self.n, self.out)
        self.next(self.collect)

    @step
    def collect(self, inputs):
        self.pairs = [i.pair for i in inputs]
        self.next(self.end)

    @step
    def end(self):
        print(self.pairs)


if __name__ == "__main__":
    SwitchInForeachFlow()
