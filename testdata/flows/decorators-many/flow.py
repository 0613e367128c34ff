"""Many decorators on one step: their order is kept."""

from metaflow import FlowSpec, catch, environment, resources, retry, step, timeout


class ManyFlow(FlowSpec):
    @environment(vars={"A": "1"})
    @resources(memory=100)
    @timeout(seconds=60)
    @retry(times=0)
    @catch(var="oops")
    @step
    def start(self):
        self.x = 1
        self.next(self.end)

    @step
    def end(self):
        print(self.x, self.oops)


if __name__ == "__main__":
    ManyFlow()
