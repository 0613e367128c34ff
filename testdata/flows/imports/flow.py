"""A flow that uses a module and a package beside it."""

import numbers_to_add
from parts.adding import add
from metaflow import FlowSpec, step


class ImportsFlow(FlowSpec):
    @step
    def start(self):
        self.total = add(*numbers_to_add.NUMBERS)
        self.next(self.end)

    @step
    def end(self):
        print(self.total)


if __name__ == "__main__":
    ImportsFlow()
