"""A step that goes back to itself until a condition holds."""

from metaflow import FlowSpec, step


class RecursionFlow(FlowSpec):
    @step
    def start(self):
        self.n = 6
        self.steps = 0
        self.next(self.collatz)

    @step
    def collatz(self):
        self.n = self.n // 2 if self.n % 2 == 0 else 3 * self.n + 1
        self.steps = self.steps + 1
        self.state = "done" if self.n == 1 else "again"
        self.next({"again": self.collatz, "done": self.end}, condition="state")

    @step
    def end(self):
        print(self.steps)


if __name__ == "__main__":
    RecursionFlow()
