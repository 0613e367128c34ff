"""A switch inside a foreach leaves it without the join."""

from metaflow import FlowSpec, step


class Cross(FlowSpec):
    @step
    def start(self):
        self.items = [1, 2]
        self.next(self.body, foreach="items")

    @step
    def body(self):
        self.way = "out"
        self.next({"join": self.stay, "out": self.leave}, condition="way")

    @step
    def stay(self):
        self.next(self.join)

    @step
    def leave(self):
        self.next(self.after)

    @step
    def join(self, inputs):
        self.next(self.after)

    @step
    def after(self):
        self.next(self.end)

    @step
    def end(self):
        pass


if __name__ == "__main__":
    Cross()
