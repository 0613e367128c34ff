from metaflow import FlowSpec, step


class Bad(FlowSpec):
    @step
    def start(self):
        key = "k"
        self.x = 1
        self.next({key: self.a, None: self.b, self.x: self.a, "t": "b", **{}}, condition="x")


    @step
    def a(self):
        self.next(self.end)

    @step
    def b(self):
        self.next(self.end)

    @step
    def end(self):
        pass
