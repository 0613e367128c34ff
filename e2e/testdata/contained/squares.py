import time

FIRST = time.time()

from metaflow import FlowSpec, Parameter, current, step  # noqa: E402


class SquaresFlow(FlowSpec):
    """Runs in a container that has Python and nothing else."""

    size = Parameter("size", default=3)

    @step
    def start(self):
        print("first line at %.6f" % time.time())
        self.items = list(range(self.size))
        self.text = "grüße"
        self.next(self.work, foreach="items")

    @step
    def work(self):
        print("task", current.pathspec)
        self.square = self.input**2
        self.next(self.join)

    @step
    def join(self, inputs):
        self.total = sum(i.square for i in inputs)
        self.merge_artifacts(inputs, include=["text"])
        self.next(self.end)

    @step
    def end(self):
        print("total", self.total, self.text)


if __name__ == "__main__":
    SquaresFlow()
