"""A join that takes over what its inputs agree on."""

from metaflow import FlowSpec, step


class MergeFlow(FlowSpec):
    @step
    def start(self):
        self.common = "common"
        self.contested = 0
        self.next(self.a, self.b)

    @step
    def a(self):
        self.only_a = 1
        self.contested = 1
        self.next(self.join)

    @step
    def b(self):
        self.only_b = 2
        self.contested = 2
        self.next(self.join)

    @step
    def join(self, inputs):
        self.contested = inputs.a.contested + inputs.b.contested
        self.merge_artifacts(inputs)
        self.next(self.end)

    @step
    def end(self):
        print(self.common, self.only_a, self.only_b, self.contested)


if __name__ == "__main__":
    MergeFlow()
