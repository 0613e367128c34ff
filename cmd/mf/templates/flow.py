from metaflow import FlowSpec, Parameter, step


class HelloFlow(FlowSpec):
    """Greets some people, one task each, and collects the greetings."""

    greeting = Parameter("greeting", default="Hello", help="How to greet")

    @step
    def start(self):
        self.people = ["Ada", "Grace", "Katherine"]
        self.next(self.greet, foreach="people")

    @step
    def greet(self):
        self.text = f"{self.greeting}, {self.input}!"
        print(self.text)
        self.next(self.collect)

    @step
    def collect(self, inputs):
        self.texts = [task.text for task in inputs]
        self.next(self.end)

    @step
    def end(self):
        print(f"{len(self.texts)} people greeted")


if __name__ == "__main__":
    HelloFlow()
