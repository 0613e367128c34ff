"""What steps need, as numbers and as texts."""

from metaflow import FlowSpec, resources, step


class ResourcesFlow(FlowSpec):
    @resources(cpu=2, memory=8000)
    @step
    def start(self):
        self.next(self.large)

    @resources(cpu="0.5", memory="512", disk=20480, gpu=1, shared_memory=64)
    @step
    def large(self):
        self.next(self.end)

    @step
    def end(self):
        self.ok = True


if __name__ == "__main__":
    ResourcesFlow()
