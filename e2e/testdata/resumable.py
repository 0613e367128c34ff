import os

from metaflow import FlowSpec, Parameter, step


class ResumableFlow(FlowSpec):
    """Fails in one split while FAIL is set."""

    size = Parameter("size", default=4)

    @step
    def start(self):
        self.items = ["item %d" % i for i in range(self.size)]
        self.next(self.work, foreach="items")

    @step
    def work(self):
        with open(os.environ["TRACE"], "a") as f:
            f.write("work %d\n" % self.index)
        if self.index == 2 and os.environ.get("FAIL"):
            raise ValueError("asked to fail")
        self.result = self.input.upper()
        self.next(self.join)

    @step
    def join(self, inputs):
        self.results = [i.result for i in inputs]
        self.next(self.end)

    @step
    def end(self):
        print("results:", self.results, "size:", self.size)


if __name__ == "__main__":
    ResumableFlow()
