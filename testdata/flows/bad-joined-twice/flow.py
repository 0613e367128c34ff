"""Each branch chooses between two joins."""

from metaflow import FlowSpec, step


class JoinedTwice(FlowSpec):
    @step
    def start(self):
        self.next(self.a, self.b)

    @step
    def a(self):
        self.way = "x"
        self.next({"x": self.ax, "y": self.ay}, condition="way")

    @step
    def ax(self):
        self.next(self.join_x)

    @step
    def ay(self):
        self.next(self.join_y)

    @step
    def b(self):
        self.way = "x"
        self.next({"x": self.bx, "y": self.by}, condition="way")

    @step
    def bx(self):
        self.next(self.join_x)

    @step
    def by(self):
        self.next(self.join_y)

    @step
    def join_x(self, inputs):
        self.next(self.end)

    @step
    def join_y(self, inputs):
        self.next(self.end)

    @step
    def end(self):
        pass


if __name__ == "__main__":
    JoinedTwice()
