from metaflow import FlowSpec, step


class Bad(FlowSpec):
    @step
    def start(self):
        self.next(self.end)

    @step
    def end(self):
        pass

    @step
    def start(self):
        self.next(self.end)

    end = 5
