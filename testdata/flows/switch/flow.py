"""A switch between two branches, which meet again."""

from metaflow import FlowSpec, step


class SwitchFlow(FlowSpec):
    @step
    def start(self):
        self.size = 7
        self.mode = "big" if self.size > 5 else "small"
        self.next({"big": self.big, "small": self.small}, condition="mode")

    @step
    def big(self):
        self.text = "big " + str(self.size)
        self.next(self.report)

    @step
    def small(self):
        self.text = "small " + str(self.size)
        self.next(self.report)

    @step
    def report(self):
        self.done = self.text + "!"
        self.next(self.end)

    @step
    def end(self):
        print(self.done)


if __name__ == "__main__":
    SwitchFlow()
