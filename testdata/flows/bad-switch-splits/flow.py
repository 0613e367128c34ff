"""A switch is no split: its branches cannot be joined."""

from metaflow import FlowSpec, step


class SwitchJoined(FlowSpec):
    @step
    def start(self):
        self.way = "a"
        self.next({"a": self.a, "b": self.b}, condition="way")

    @step
    def a(self):
        self.next(self.join)

    @step
    def b(self):
        self.next(self.join)

    @step
    def join(self, inputs):
        self.next(self.end)

    @step
    def end(self):
        pass


if __name__ == "__main__":
    SwitchJoined()
