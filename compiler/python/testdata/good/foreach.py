from metaflow import FlowSpec, step


class Nested(FlowSpec):
    @step
    def start(self):
        self.outer = [1, 2]
        self.next(self.split, foreach="outer")

    @step
    def split(self):
        self.inner = [self.input] * 3
        self.next(self.work, foreach="inner")

    @step
    def work(self):
        self.result = (self.index, self.foreach_stack())
        self.next(self.join_inner)

    @step
    def join_inner(self, inputs):
        self.next(self.join_outer)

    @step
    def join_outer(self, inputs):
        self.next(self.end)

    @step
    def end(self):
        pass
