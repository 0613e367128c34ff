"""Every task of a foreach loops for as long as it needs."""

from metaflow import FlowSpec, step


class LoopsFlow(FlowSpec):
    @step
    def start(self):
        self.goals = [1, 3]
        self.next(self.prepare, foreach="goals")

    @step
    def prepare(self):
        self.goal = self.input
        self.reached = 0
        self.next(self.climb)

    @step
    def climb(self):
        self.reached = self.reached + 1
        self.more = "yes" if self.reached < self.goal else "no"
        self.next({"yes": self.climb, "no": self.rest}, condition="more")

    @step
    def rest(self):
        self.next(self.collect)

    @step
    def collect(self, inputs):
        self.heights = [i.reached for i in inputs]
        self.next(self.end)

    @step
    def end(self):
        print(self.heights)


if __name__ == "__main__":
    LoopsFlow()
