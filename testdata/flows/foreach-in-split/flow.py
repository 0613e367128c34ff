"""A foreach in one branch of a static split, nothing special in the other."""

from metaflow import FlowSpec, step


class ForeachInSplitFlow(FlowSpec):
    @step
    def start(self):
        self.next(self.fan, self.plain)

    @step
    def fan(self):
        self.parts = [1, 2]
        self.next(self.part, foreach="parts")

    @step
    def part(self):
        self.y = self.input + 100
        self.next(self.join_parts)

    @step
    def join_parts(self, inputs):
        self.y = sum(i.y for i in inputs)
        self.next(self.join)

    @step
    def plain(self):
        self.y = 5
        self.next(self.join)

    @step
    def join(self, inputs):
        self.ys = [i.y for i in inputs]
        self.next(self.end)

    @step
    def end(self):
        print(self.ys)


if __name__ == "__main__":
    ForeachInSplitFlow()
