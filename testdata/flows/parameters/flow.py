"""A parameter of each type."""

from metaflow import FlowSpec, JSONType, Parameter, step


class ParametersFlow(FlowSpec):
    text = Parameter("text", default="some text", help="a text")
    whole = Parameter("whole", default=3)
    real = Parameter("real", default=0.5)
    truth = Parameter("truth", default=True)
    real_from_whole = Parameter("real-from-whole", type=float, default=2)
    data = Parameter("data", type=JSONType, default='{"a": [1, 2, null]}')
    nothing = Parameter("nothing", help="has no default")
    no_show = Parameter("no-show", default="hidden", show_default=False)

    @step
    def start(self):
        self.types = [
            type(v).__name__
            for v in (self.text, self.whole, self.real, self.truth, self.real_from_whole, self.data, self.nothing)
        ]
        self.first = self.data["a"][0]
        self.next(self.end)

    @step
    def end(self):
        print(self.types, self.no_show)


if __name__ == "__main__":
    ParametersFlow()
