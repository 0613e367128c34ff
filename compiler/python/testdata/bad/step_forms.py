from metaflow import FlowSpec, step


class Bad(FlowSpec):
    @step
    def start():
        pass

    @step
    def two(self, inputs, more):
        self.next(self.end)

    @step
    async def later(self):
        self.next(self.end)

    @step
    def many(self):
        yield 1
        self.next(self.end)

    made = step(eval("lambda self: None"))

    @step
    class Inner:
        pass

    @step
    def end(self):
        (x for x in (yield_ for yield_ in ()))
