"""Steps here and on Kubernetes, one of which fails at first."""

import os
import sys

from metaflow import FlowSpec, Parameter, catch, current, kubernetes, retry, step

SMALL = {"cpu": 0.02, "memory": 50, "disk": 1}


class ShipFlow(FlowSpec):
    width = Parameter("width", default=10)

    @step
    def start(self):
        self.items = list(range(self.width))
        self.next(self.square, foreach="items")

    @retry(times=1, minutes_between_retries=0)
    @kubernetes(**SMALL)
    @step
    def square(self):
        print("squaring", self.input)
        print("in", "a pod" if "MF_MARK_LINES" in os.environ else "a process", file=sys.stderr)
        if self.input == 3 and current.retry_count == 0:
            raise ValueError("three is not for the first time")
        self.squared = self.input**2
        self.next(self.add)

    @kubernetes(**SMALL)
    @step
    def add(self, inputs):
        self.total = sum(i.squared for i in inputs)
        self.next(self.risky)

    @catch(var="problem", print_exception=False)
    @kubernetes(**SMALL)
    @step
    def risky(self):
        if self.total:
            raise RuntimeError("caught in the pod")
        self.next(self.end)

    @step
    def end(self):
        print("the total is", self.total)


if __name__ == "__main__":
    ShipFlow()
