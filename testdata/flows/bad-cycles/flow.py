"""Two circles, and a step that goes on to itself without a switch."""

from metaflow import FlowSpec, step


class Cycles(FlowSpec):
    @step
    def start(self):
        self.next(self.a, self.c, self.e)

    @step
    def a(self):
        self.next(self.b)

    @step
    def b(self):
        self.next(self.a)

    @step
    def c(self):
        self.next(self.d)

    @step
    def d(self):
        self.next(self.c)

    @step
    def e(self):
        self.next(self.e)

    @step
    def end(self):
        pass


if __name__ == "__main__":
    Cycles()
