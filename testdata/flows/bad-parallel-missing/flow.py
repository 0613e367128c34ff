from metaflow import FlowSpec, step


class ParallelMissing(FlowSpec):
    @step
    def start(self):
        self.next(self.work, num_parallel=2)

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
    ParallelMissing()
