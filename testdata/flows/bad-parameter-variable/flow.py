"""Variables that mean something else on every flow: Metaflow gives these silently the wrong value."""

from metaflow import FlowSpec, Parameter, step


class ReservedVariable(FlowSpec):
    name = Parameter("user-name", default="x")
    index = Parameter("position", default=1)

    @step
    def start(self):
        print(self.name, self.index)
        self.next(self.end)

    @step
    def end(self):
        pass


if __name__ == "__main__":
    ReservedVariable()
