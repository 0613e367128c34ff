"""A run that fails in production: one split of six, and the step after the join."""

import os
import urllib.request

from metaflow import FlowSpec, Parameter, current, step

FIXED = False


def tell(what):
    """Tells the test that a step's own code runs."""
    urllib.request.urlopen(os.environ["TELL"] + "/" + current.run_id + "/" + what).read()


class ResumedFlow(FlowSpec):
    factor = Parameter("factor", type=int, required=True)

    @step
    def start(self):
        tell("start")
        self.numbers = [1, 2, 3, 4, 5, 6]
        self.where = current.run_id
        self.next(self.work, foreach="numbers")

    @step
    def work(self):
        tell("work-%d" % self.index)
        if self.input == 4 and not FIXED:
            raise ValueError("four is wrong")
        self.product = self.input * self.factor
        self.next(self.gather)

    @step
    def gather(self, inputs):
        tell("gather")
        self.total = sum(task.product for task in inputs)
        self.where = inputs[0].where
        self.next(self.end)

    @step
    def end(self):
        tell("end")
        print("total", self.total)


if __name__ == "__main__":
    ResumedFlow()
