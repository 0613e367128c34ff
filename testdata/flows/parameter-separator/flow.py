"""A parameter that is split into a list."""

from metaflow import FlowSpec, Parameter, step


class SeparatorFlow(FlowSpec):
    words = Parameter("words", default="one,two,three", separator=",")

    @step
    def start(self):
        self.count = len(self.words)
        self.next(self.end)

    @step
    def end(self):
        print(self.count)


if __name__ == "__main__":
    SeparatorFlow()
