from metaflow import FlowSpec, step


class Bad(FlowSpec):
    @step
    def start(self):
        return self.next(self.a)


    @step
    def a(self):
        self.next(self.end)

    @step
    def b(self):
        self.next(self.end)

    @step
    def end(self):
        pass
