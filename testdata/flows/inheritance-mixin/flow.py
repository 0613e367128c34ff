"""Two bases: one brings the steps, the other decorators' constants and a helper."""

from metaflow import FlowSpec, step


class Helpers:
    factor = 3

    def scale(self, x):
        return x * self.factor


class Skeleton(FlowSpec):
    @step
    def start(self):
        self.x = 1
        self.next(self.work)

    @step
    def work(self):
        self.next(self.end)

    @step
    def end(self):
        print(self.x)


class MixedFlow(Helpers, Skeleton):
    @step
    def work(self):
        self.x = self.scale(self.x)
        self.next(self.end)


if __name__ == "__main__":
    MixedFlow()
