from metaflow import FlowSpec, step


class JoinSplits(FlowSpec):
    @step
    def start(self):
        self.next(self.a, self.b)

    @step
    def a(self):
        self.next(self.join)

    @step
    def b(self):
        self.next(self.join)

    @step
    def join(self, inputs):
        self.next(self.c, self.d)

    @step
    def c(self):
        self.next(self.join2)

    @step
    def d(self):
        self.next(self.join2)

    @step
    def join2(self, inputs):
        self.items = [1]
        self.next(self.e, foreach="items")

    @step
    def e(self):
        self.next(self.join3)

    @step
    def join3(self, inputs):
        self.way = "a"
        self.next({"a": self.f, "b": self.end}, condition="way")

    @step
    def f(self):
        self.next(self.end)

    @step
    def end(self):
        pass


if __name__ == "__main__":
    JoinSplits()
