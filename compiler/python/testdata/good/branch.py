import metaflow


class Branch(metaflow.FlowSpec):
    @metaflow.step
    def start(self):
        self.next(self.left, self.right)

    @metaflow.step
    def left(self):
        self.side = "left"
        self.next(self.join)

    @metaflow.step
    def right(self):
        self.side = "right"
        self.next(self.join)

    @metaflow.step
    def join(self, inputs):
        self.sides = [i.side for i in inputs]
        self.merge_artifacts(inputs, exclude=["side"])
        self.next(self.end)

    @metaflow.step
    def end(self):
        pass
