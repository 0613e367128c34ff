"""merge_artifacts with include, and with exclude."""

from metaflow import FlowSpec, step


class MergeChosenFlow(FlowSpec):
    @step
    def start(self):
        self.keep = "k"
        self.drop = "d"
        self.items = [1, 2]
        self.next(self.body, foreach="items")

    @step
    def body(self):
        self.noise = self.input
        self.next(self.join)

    @step
    def join(self, inputs):
        self.merge_artifacts(inputs, include=["keep", "drop"])
        self.next(self.again)

    @step
    def again(self):
        self.next(self.left, self.right)

    @step
    def left(self):
        self.side = "left"
        self.next(self.join_again)

    @step
    def right(self):
        self.side = "right"
        self.next(self.join_again)

    @step
    def join_again(self, inputs):
        self.merge_artifacts(inputs, exclude=["side", "drop"])
        self.next(self.end)

    @step
    def end(self):
        print(self.keep, hasattr(self, "drop"))


if __name__ == "__main__":
    MergeChosenFlow()
