"""A schedule that says never."""

from metaflow import FlowSpec, Parameter, schedule, step


@schedule(daily=False)
class OffFlow(FlowSpec):
    when = Parameter("when", required=True)

    @step
    def start(self):
        self.next(self.end)

    @step
    def end(self):
        print(self.when)


if __name__ == "__main__":
    OffFlow()
