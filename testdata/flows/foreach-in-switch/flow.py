"""A foreach, joined, in one branch of a switch."""

from metaflow import FlowSpec, step


class ForeachInSwitchFlow(FlowSpec):
    @step
    def start(self):
        self.kind = "many"
        self.next({"many": self.fan, "one": self.single}, condition="kind")

    @step
    def fan(self):
        self.items = ["a", "b", "c"]
        self.next(self.item, foreach="items")

    @step
    def item(self):
        self.out = self.input + "!"
        self.next(self.collect)

    @step
    def collect(self, inputs):
        self.outs = [i.out for i in inputs]
        self.next(self.show)

    @step
    def single(self):
        self.outs = ["one"]
        self.next(self.show)

    @step
    def show(self):
        self.text = " ".join(self.outs)
        self.next(self.end)

    @step
    def end(self):
        print(self.text)


if __name__ == "__main__":
    ForeachInSwitchFlow()
