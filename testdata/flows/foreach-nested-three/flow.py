"""Three foreaches in each other, joined one after the other."""

from metaflow import FlowSpec, step


class ThreeDeepFlow(FlowSpec):
    @step
    def start(self):
        self.xs = [0, 1]
        self.next(self.x, foreach="xs")

    @step
    def x(self):
        self.ys = ["a", "b"]
        self.next(self.y, foreach="ys")

    @step
    def y(self):
        self.zs = [True, False]
        self.next(self.z, foreach="zs")

    @step
    def z(self):
        self.path = [frame[0] for frame in self.foreach_stack()]
        self.next(self.join_z)

    @step
    def join_z(self, inputs):
        self.paths = [i.path for i in inputs]
        self.next(self.join_y)

    @step
    def join_y(self, inputs):
        self.paths = [p for i in inputs for p in i.paths]
        self.next(self.join_x)

    @step
    def join_x(self, inputs):
        self.paths = [p for i in inputs for p in i.paths]
        self.next(self.end)

    @step
    def end(self):
        print(len(self.paths))


if __name__ == "__main__":
    ThreeDeepFlow()
