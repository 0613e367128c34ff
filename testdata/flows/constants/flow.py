"""Class-level values are stored once and read everywhere."""

from metaflow import FlowSpec, step


class ConstantsFlow(FlowSpec):
    LIMIT = 10
    RATES = [0.1, 0.2]
    LABELS = {"low": "blue", "high": "red"}
    TITLE = None

    @step
    def start(self):
        self.scaled = [rate * self.LIMIT for rate in self.RATES]
        self.next(self.end)

    @step
    def end(self):
        print(self.scaled, self.LABELS["low"], self.TITLE)


if __name__ == "__main__":
    ConstantsFlow()
