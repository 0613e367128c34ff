from metaflow import FlowSpec, parallel, step


class ParallelUnused(FlowSpec):
    @step
    def start(self):
        self.next(self.work)

    @parallel
    @step
    def work(self):
        self.next(self.end)

    @step
    def end(self):
        pass


if __name__ == "__main__":
    ParallelUnused()
