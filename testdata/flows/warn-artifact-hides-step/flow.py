"""An artifact takes the place of a step."""

from metaflow import FlowSpec, step


class HidesStep(FlowSpec):
    @step
    def start(self):
        self.report = "text"
        self.next(self.report)

    @step
    def report(self):
        self.next(self.end)

    @step
    def end(self):
        pass


if __name__ == "__main__":
    HidesStep()
