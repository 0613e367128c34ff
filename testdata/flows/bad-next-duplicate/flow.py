from metaflow import FlowSpec, step


class NextDuplicate(FlowSpec):
    @step
    def start(self):
        self.next(self.a, self.b, self.a)

    @step
    def a(self):
        self.next(self.join)

    @step
    def b(self):
        self.next(self.join)

    @step
    def join(self, inputs):
        self.next(self.end)

    @step
    def end(self):
        pass


if __name__ == "__main__":
    NextDuplicate()
