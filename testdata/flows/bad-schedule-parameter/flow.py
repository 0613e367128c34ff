"""A schedule cannot give a required parameter."""

from metaflow import FlowSpec, Parameter, schedule, step


@schedule(hourly=True)
class ScheduleParameter(FlowSpec):
    given = Parameter("given", default="x")
    missing = Parameter("missing", required=True)

    @step
    def start(self):
        self.next(self.end)

    @step
    def end(self):
        print(self.given, self.missing)


if __name__ == "__main__":
    ScheduleParameter()
