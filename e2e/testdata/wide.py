import time

from metaflow import FlowSpec, Parameter, retry, step


class WideFlow(FlowSpec):
    """Adds up squares, each made by a task of its own, which may take its time."""

    width = Parameter("width", default=8)
    seconds = Parameter("seconds", default=0.0)

    @step
    def start(self):
        self.numbers = list(range(self.width))
        self.next(self.square, foreach="numbers")

    @retry(times=3, minutes_between_retries=0)
    @step
    def square(self):
        print("square of", self.input, "begins")
        time.sleep(self.seconds)
        self.result = self.input**2
        self.next(self.total)

    @step
    def total(self, inputs):
        self.results = [i.result for i in inputs]
        self.sum = sum(self.results)
        self.next(self.end)

    @step
    def end(self):
        print("the sum is", self.sum)


if __name__ == "__main__":
    WideFlow()
