"""A flow whose run by Metaflow is in client_run.tar.gz, for the tests of the client."""

import sys

from metaflow import FlowSpec, IncludeFile, Parameter, catch, step


class ClientFlow(FlowSpec):
    alpha = Parameter("alpha", default=3)
    words = IncludeFile("words", default="words.txt")
    limit = 10

    @step
    def start(self):
        print("hello")
        print("a line on stderr", file=sys.stderr)
        self.items = ["a", "b"]
        self.table = {"x": [1, 2.5, None], "y": ("t", b"bytes")}
        self.next(self.body, foreach="items")

    @catch(var="failure")
    @step
    def body(self):
        self.result = self.input * self.alpha
        if self.index == 1:
            raise ValueError("the second one fails")
        self.next(self.join)

    @step
    def join(self, inputs):
        self.results = [i.result for i in inputs if i.failure is None]
        self.merge_artifacts(inputs, include=["items", "table"])
        self.next(self.end)

    @step
    def end(self):
        print("done", self.results)


if __name__ == "__main__":
    ClientFlow()
