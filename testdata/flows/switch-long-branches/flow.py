"""Branches of several steps and of different length."""

from metaflow import FlowSpec, step


class LongBranchesFlow(FlowSpec):
    @step
    def start(self):
        self.trail = ["start"]
        self.way = "long"
        self.next({"long": self.one, "short": self.direct}, condition="way")

    @step
    def one(self):
        self.trail = self.trail + ["one"]
        self.next(self.two)

    @step
    def two(self):
        self.trail = self.trail + ["two"]
        self.next(self.three)

    @step
    def three(self):
        self.trail = self.trail + ["three"]
        self.next(self.end)

    @step
    def direct(self):
        self.trail = self.trail + ["direct"]
        self.next(self.end)

    @step
    def end(self):
        print(self.trail)


if __name__ == "__main__":
    LongBranchesFlow()
