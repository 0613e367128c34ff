from metaflow import FlowSpec, Parameter, step


class BaseFlow(FlowSpec):
    prefix = "Hello"
    name_of_user = Parameter("name-of-user", default="world")

    @step
    def start(self):
        self.prepared = self.prefix.lower()
        self.next(self.greet)

    @step
    def greet(self):
        self.greeting = self.prefix
        self.next(self.end)

    @step
    def end(self):
        print(self.greeting, self.prepared)
