"""A failure that is swallowed and looked at afterwards."""

from metaflow import FlowSpec, catch, step


class CatchFlow(FlowSpec):
    @step
    def start(self):
        self.items = [1, 0, 2]
        self.next(self.divide, foreach="items")

    @catch(var="problem", print_exception=False)
    @step
    def divide(self):
        self.quotient = None
        self.quotient = 2 // self.input
        self.next(self.collect)

    @step
    def collect(self, inputs):
        self.failed = [bool(i.problem) for i in inputs]
        self.next(self.end)

    @step
    def end(self):
        print(self.failed)


if __name__ == "__main__":
    CatchFlow()
