"""A step that runs as an AWS Batch job, with what only Batch knows."""

from metaflow import FlowSpec, batch, step


class BatchFlow(FlowSpec):
    @batch(cpu=4, memory=2048, queue="my-queue", use_tmpfs=True, shared_memory=256)
    @step
    def start(self):
        self.next(self.end)

    @step
    def end(self):
        self.done = True


if __name__ == "__main__":
    BatchFlow()
