"""Text in many scripts, in values, names of artifacts and documentation: grüße, 漢字, 🎉."""

from metaflow import FlowSpec, Parameter, step


class UnicodeFlow(FlowSpec):
    """Größe und 漢字."""

    greeting = Parameter("greeting", default="grüße 漢字 🎉", help="ein Gruß")

    @step
    def start(self):
        self.größe = len(self.greeting)
        self.next(self.end)

    @step
    def end(self):
        print(self.greeting, self.größe)


if __name__ == "__main__":
    UnicodeFlow()
