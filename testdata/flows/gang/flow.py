"""Tasks that work together, with one in control."""

from metaflow import FlowSpec, current, parallel, step


class GangFlow(FlowSpec):
    @step
    def start(self):
        self.next(self.work, num_parallel=3)

    @parallel
    @step
    def work(self):
        self.node = current.parallel.node_index
        self.nodes = current.parallel.num_nodes
        self.next(self.join)

    @step
    def join(self, inputs):
        self.indices = sorted(i.node for i in inputs)
        self.next(self.end)

    @step
    def end(self):
        print(self.indices)


if __name__ == "__main__":
    GangFlow()
