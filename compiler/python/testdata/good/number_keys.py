from metaflow import FlowSpec, step


class Numbers(FlowSpec):
    @step
    def start(self):
        self.n = 1
        self.next({1: self.a, -2: self.b, 1.5: self.a}, condition="n", foreach=None)

    @step
    def a(self):
        self.next(self.end)

    @step
    def b(self):
        self.next(self.end)

    @step
    def end(self):
        pass
