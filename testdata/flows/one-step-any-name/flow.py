"""The only step may have any name."""

from metaflow import FlowSpec, step


class OnlyFlow(FlowSpec):
    @step
    def compute(self):
        self.answer = 6 * 7


if __name__ == "__main__":
    OnlyFlow()
