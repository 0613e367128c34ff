"""Artifacts do not pass a join by themselves."""

from metaflow import FlowSpec, step


class Lost(FlowSpec):
    @step
    def start(self):
        self.kept = 1
        self.lost = 2
        self.next(self.a, self.b)

    @step
    def a(self):
        self.next(self.join)

    @step
    def b(self):
        self.next(self.join)

    @step
    def join(self, inputs):
        self.kept = inputs[0].kept
        print(self.lost)
        self.next(self.end)

    @step
    def end(self):
        print(self.kept, self.lost)


if __name__ == "__main__":
    Lost()
