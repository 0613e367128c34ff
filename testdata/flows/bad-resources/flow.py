from metaflow import FlowSpec, kubernetes, resources, step


class Resources(FlowSpec):
    @resources(cpu=0, memory=-1, gpu=0)
    @step
    def start(self):
        self.next(self.a)

    @kubernetes(memory="4Gi", disk=0)
    @step
    def a(self):
        self.next(self.end)

    @resources(gpu="two")
    @step
    def end(self):
        pass


if __name__ == "__main__":
    Resources()
