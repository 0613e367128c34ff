"""A parameter that must be given."""

from metaflow import FlowSpec, Parameter, step


class RequiredFlow(FlowSpec):
    who = Parameter("who", required=True, help="whom to greet")

    @step
    def start(self):
        self.greeting = "Hello, " + self.who
        self.next(self.end)

    @step
    def end(self):
        print(self.greeting)


if __name__ == "__main__":
    RequiredFlow()
