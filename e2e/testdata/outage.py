import os
import time

from metaflow import FlowSpec, step


class OutageFlow(FlowSpec):
    """200 tasks that take a while, so that something can go away in the middle of them."""

    @step
    def start(self):
        self.items = list(range(200))
        self.next(self.work, foreach="items")

    @step
    def work(self):
        with open(os.environ["TRACE"], "a") as f:
            f.write("work %d\n" % self.input)
        time.sleep(1.5)
        self.square = self.input**2
        print("squared", self.input)
        self.next(self.join)

    @step
    def join(self, inputs):
        self.total = sum(i.square for i in inputs)
        self.next(self.end)

    @step
    def end(self):
        pass


if __name__ == "__main__":
    OutageFlow()
