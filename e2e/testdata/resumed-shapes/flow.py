"""A run with a switch, a foreach with a body of two steps, a split and a loop, which fails in the step that FAULT names."""

import os

from metaflow import FlowSpec, step


def fault(name):
    if os.environ.get("FAULT") == name:
        raise ValueError(name + " is wrong")


class ShapesFlow(FlowSpec):
    @step
    def start(self):
        self.mode = "long"
        self.next({"long": self.long, "short": self.short}, condition="mode")

    @step
    def long(self):
        self.next(self.fan)

    @step
    def short(self):
        self.next(self.fan)

    @step
    def fan(self):
        self.xs = [10, 20, 30]
        self.next(self.first, foreach="xs")

    @step
    def first(self):
        self.x = self.input
        self.next(self.second)

    @step
    def second(self):
        if self.x == 20:
            fault("second")
        self.next(self.gather)

    @step
    def gather(self, inputs):
        self.total = sum(task.x for task in inputs)
        self.next(self.fork)

    @step
    def fork(self):
        self.next(self.left, self.right)

    @step
    def left(self):
        self.next(self.meet)

    @step
    def right(self):
        self.next(self.meet)

    @step
    def meet(self, inputs):
        self.merge_artifacts(inputs)
        self.rounds = 0
        self.next(self.repeat)

    @step
    def repeat(self):
        self.rounds += 1
        self.more = "yes" if self.rounds < 3 else "no"
        self.next({"yes": self.repeat, "no": self.last}, condition="more")

    @step
    def last(self):
        fault("last")
        self.next(self.end)

    @step
    def end(self):
        print("total", self.total)


if __name__ == "__main__":
    ShapesFlow()
