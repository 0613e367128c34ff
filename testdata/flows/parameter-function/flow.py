"""Defaults that functions compute when the flow is run."""

from metaflow import FlowSpec, JSONType, Parameter, step


def flow_name(context):
    return context.flow_name.lower()


class FunctionFlow(FlowSpec):
    label = Parameter("label", default=flow_name)
    size = Parameter("size", type=int, default=lambda context: 4)
    shape = Parameter("shape", type=JSONType, default=lambda context: '{"sides": 3}')

    @step
    def start(self):
        self.summary = "%s %d %d" % (self.label, self.size, self.shape["sides"])
        self.next(self.end)

    @step
    def end(self):
        print(self.summary)


if __name__ == "__main__":
    FunctionFlow()
