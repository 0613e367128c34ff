from metaflow import FlowSpec, JSONType, Parameter, step


class ParameterDefault(FlowSpec):
    whole = Parameter("whole", type=int, default="many")
    data = Parameter("data", type=JSONType, default="{'single': 'quotes'}")
    listed = Parameter("listed", type=int, separator=",", default=1)

    @step
    def start(self):
        self.next(self.end)

    @step
    def end(self):
        pass


if __name__ == "__main__":
    ParameterDefault()
