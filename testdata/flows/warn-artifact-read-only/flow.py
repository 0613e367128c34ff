"""Parameters and constants cannot be written."""

from metaflow import FlowSpec, Parameter, step


class ReadOnly(FlowSpec):
    alpha = Parameter("alpha", default=1)
    LIMIT = 3

    @step
    def start(self):
        self.alpha = 2
        self.LIMIT = 4
        self.next(self.end)

    @step
    def end(self):
        pass


if __name__ == "__main__":
    ReadOnly()
