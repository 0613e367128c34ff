from metaflow import FlowSpec, step


class Bad(FlowSpec):
    @step
    def start(self):
        self.next({"a": self.a, "b": self.b}, condition=self.x)


    @step
    def a(self):
        self.next(self.end)

    @step
    def b(self):
        self.next(self.end)

    @step
    def end(self):
        pass
