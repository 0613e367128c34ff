from metaflow import FlowSpec, Parameter, step


class ParameterName(FlowSpec):
    a = Parameter("two words", default="x")
    b = Parameter("1st", default="x")

    @step
    def start(self):
        self.next(self.end)

    @step
    def end(self):
        pass


if __name__ == "__main__":
    ParameterName()
