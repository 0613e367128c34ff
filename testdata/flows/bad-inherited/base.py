from metaflow import FlowSpec, step


class BaseFlow(FlowSpec):
    @step
    def start(self):
        self.next(self.wrok)

    @step
    def finish(self):
        self.next(self.end)

    @step
    def end(self):
        pass
