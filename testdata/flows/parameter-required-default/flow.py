"""Required, but with a default."""

from metaflow import FlowSpec, Parameter, step


class RequiredDefault(FlowSpec):
    alpha = Parameter("alpha", default=1, required=True)

    @step
    def start(self):
        self.beta = self.alpha + 1
        self.next(self.end)

    @step
    def end(self):
        print(self.beta)


if __name__ == "__main__":
    RequiredDefault()
