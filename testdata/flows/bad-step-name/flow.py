from metaflow import FlowSpec, step


class StepName(FlowSpec):
    @step
    def start(self):
        self.next(self.loadData)

    @step
    def loadData(self):
        self.next(self._private)

    @step
    def _private(self):
        self.next(self.größe)

    @step
    def größe(self):
        self.next(self.end)

    @step
    def end(self):
        pass


if __name__ == "__main__":
    StepName()
