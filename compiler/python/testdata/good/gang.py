from metaflow import FlowSpec, parallel, pytorch_parallel, step


class Gang(FlowSpec):
    @step
    def start(self):
        self.next(self.train, num_parallel=4)

    @parallel
    @step
    def train(self):
        self.next(self.join)

    @step
    def join(self, inputs):
        self.size = 2
        self.next(self.again, num_parallel=self.size)

    @pytorch_parallel(master_port=3339)
    @step
    def again(self):
        self.next(self.end)

    @step
    def end(self, inputs):
        pass
