"""A flow that fails when FAIL is set and is resumed then, for the tests of the client. Its join uses the client itself."""

import os

from metaflow import FlowSpec, current, retry, step


class AgainFlow(FlowSpec):
    @step
    def start(self):
        self.items = [0, 1, 2]
        self.next(self.body, foreach="items")

    @retry(times=1, minutes_between_retries=0)
    @step
    def body(self):
        print("item", self.input)
        if current.retry_count == 0 and self.input == 1:
            raise ValueError("once")
        self.x = self.input
        self.next(self.join)

    @step
    def join(self, inputs):
        self.seen = sorted((task.index, task.data.x, task.successful) for task in current.run["body"])
        if os.environ.get("FAIL"):
            raise ValueError("on request")
        self.next(self.end)

    @step
    def end(self):
        print(self.seen)


if __name__ == "__main__":
    AgainFlow()
