"""A flow of one step, which is start and end at once."""

from metaflow import FlowSpec, step


class OneStepFlow(FlowSpec):
    @step
    def start(self):
        self.answer = 42


if __name__ == "__main__":
    OneStepFlow()
