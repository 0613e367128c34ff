import os
import time

from metaflow import FlowSpec, current, step


class FortyFlow(FlowSpec):
    """Forty tasks that leave a trace."""

    def trace(self):
        with open(os.environ["TRACE"], "a") as f:
            f.write("%s %s\n" % (current.run_id, current.step_name + str(self.index if self.index is not None else "")))

    @step
    def start(self):
        self.trace()
        self.items = list(range(36))
        self.next(self.work, foreach="items")

    @step
    def work(self):
        self.trace()
        time.sleep(0.01)
        self.square = self.input**2
        self.next(self.join)

    @step
    def join(self, inputs):
        self.trace()
        self.squares = [i.square for i in inputs]
        self.next(self.more)

    @step
    def more(self):
        self.trace()
        self.total = sum(self.squares)
        self.next(self.end)

    @step
    def end(self):
        self.trace()
        self.text = "total %d" % self.total


if __name__ == "__main__":
    FortyFlow()
