"""Artifacts that are written by a helper method, by setattr and by a function that is handed the flow."""

from metaflow import FlowSpec, step


def fill(flow):
    flow.filled = "by a function"


class DynamicFlow(FlowSpec):
    def helper(self):
        self.helped = "by a method"

    @step
    def start(self):
        self.helper()
        for i in range(2):
            setattr(self, "value_%d" % i, i)
        fill(self)
        self.next(self.end)

    @step
    def end(self):
        self.all = [self.helped, self.value_0, self.value_1, self.filled]


if __name__ == "__main__":
    DynamicFlow()
