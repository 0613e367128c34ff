from metaflow import FlowSpec, step


class StepUnknown(FlowSpec):
    @step
    def start(self):
        self.next(self.tain, self.report)

    @step
    def train(self):
        self.next(self.join)

    @step
    def report(self):
        self.next(self.join)

    @step
    def join(self, inputs):
        self.next(self.finish)

    @step
    def end(self):
        pass


if __name__ == "__main__":
    StepUnknown()
