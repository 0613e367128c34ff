from metaflow import FlowSpec, step


class Bad(FlowSpec):
    @step
    def start(self):
        items = "x"
        self.x = [1]
        self.next(self.a, foreach=items)


    @step
    def a(self):
        self.next(self.end)

    @step
    def b(self):
        self.next(self.end)

    @step
    def end(self):
        pass
