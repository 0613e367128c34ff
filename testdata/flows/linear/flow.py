"""Three steps in a row that hand artifacts on."""

from metaflow import FlowSpec, step


class LinearFlow(FlowSpec):
    """Adds up a few numbers."""

    @step
    def start(self):
        """Where the numbers come from."""
        self.numbers = [1, 2, 3]
        self.next(self.add)

    @step
    def add(self):
        self.total = sum(self.numbers)
        self.next(self.end)

    @step
    def end(self):
        print("the total is", self.total)


if __name__ == "__main__":
    LinearFlow()
