"""Reads that no path can satisfy: a misspelt name, a list that is never made."""

from metaflow import FlowSpec, step


class Unwritten(FlowSpec):
    @step
    def start(self):
        self.accuracy = 0.5
        self.way = "a"
        self.next({"a": self.a, "b": self.b}, condition="way")

    @step
    def a(self):
        self.from_a = 1
        self.next(self.show)

    @step
    def b(self):
        self.next(self.show)

    @step
    def show(self):
        print(self.acuracy, self.from_a)
        self.next(self.fan)

    @step
    def fan(self):
        self.next(self.body, foreach="itmes")

    @step
    def body(self):
        self.items = [1]
        self.next(self.join)

    @step
    def join(self, inputs):
        self.next(self.end)

    @step
    def end(self):
        pass


if __name__ == "__main__":
    Unwritten()
