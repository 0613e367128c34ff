"""A flow for comparing what the real Metaflow writes; its end step fails while FAIL_END is set."""

import os

from metaflow import FlowSpec, Parameter, step


class CompatFlow(FlowSpec):
    alpha = Parameter("alpha", default=3, type=int)

    @step
    def start(self):
        self.xs = ["é", "<b>"]
        self.next(self.body, foreach="xs")

    @step
    def body(self):
        self.y = self.input
        self.next(self.join)

    @step
    def join(self, inputs):
        self.n = len(list(inputs))
        self.next(self.end)

    @step
    def end(self):
        if os.environ.get("FAIL_END"):
            raise ValueError("as asked")


if __name__ == "__main__":
    CompatFlow()
