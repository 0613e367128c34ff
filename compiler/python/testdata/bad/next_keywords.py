from metaflow import FlowSpec, step


class Bad(FlowSpec):
    @step
    def start(self):
        options = {}
        self.next(self.a, **options)


    @step
    def a(self):
        self.next(self.end)

    @step
    def b(self):
        self.next(self.end)

    @step
    def end(self):
        pass
