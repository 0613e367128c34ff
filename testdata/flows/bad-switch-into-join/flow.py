from metaflow import FlowSpec, step


class SwitchIntoJoin(FlowSpec):
    @step
    def start(self):
        self.items = [1]
        self.next(self.body, foreach="items")

    @step
    def body(self):
        self.way = "skip"
        self.next({"skip": self.join, "work": self.work}, condition="way")

    @step
    def work(self):
        self.next(self.join)

    @step
    def join(self, inputs):
        self.next(self.end)

    @step
    def end(self):
        pass


if __name__ == "__main__":
    SwitchIntoJoin()
