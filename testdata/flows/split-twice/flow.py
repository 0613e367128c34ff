"""Two splits in a row: the join of one goes on to the next."""

from metaflow import FlowSpec, step


class TwiceFlow(FlowSpec):
    @step
    def start(self):
        self.next(self.a, self.b)

    @step
    def a(self):
        self.v = "a"
        self.next(self.join)

    @step
    def b(self):
        self.v = "b"
        self.next(self.join)

    @step
    def join(self, inputs):
        self.first = "".join(i.v for i in inputs)
        self.next(self.again)

    @step
    def again(self):
        self.next(self.c, self.d)

    @step
    def c(self):
        self.v = self.first + "c"
        self.next(self.join_again)

    @step
    def d(self):
        self.v = self.first + "d"
        self.next(self.join_again)

    @step
    def join_again(self, inputs):
        self.second = [i.v for i in inputs]
        self.next(self.end)

    @step
    def end(self):
        print(self.second)


if __name__ == "__main__":
    TwiceFlow()
