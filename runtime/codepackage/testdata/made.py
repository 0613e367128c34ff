"""A flow whose package the real Metaflow makes."""

import helper
from metaflow import FlowSpec, step


class Made(FlowSpec):
    @step
    def start(self):
        self.x = helper.X
        self.next(self.end)

    @step
    def end(self):
        pass


if __name__ == "__main__":
    Made()
