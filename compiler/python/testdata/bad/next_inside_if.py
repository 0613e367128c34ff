from metaflow import FlowSpec, step


class Bad(FlowSpec):
    @step
    def start(self):
        if self.x:
            self.next(self.a)
        else:
            self.next(self.b)


    @step
    def a(self):
        self.next(self.end)

    @step
    def b(self):
        self.next(self.end)

    @step
    def end(self):
        pass
