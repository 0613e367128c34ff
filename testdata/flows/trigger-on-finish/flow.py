"""Started when other flows have ended."""

from metaflow import FlowSpec, step, trigger_on_finish


@trigger_on_finish(flows=["LinearFlow", "SplitFlow"])
class FollowerFlow(FlowSpec):
    @step
    def start(self):
        self.next(self.end)

    @step
    def end(self):
        self.done = True


if __name__ == "__main__":
    FollowerFlow()
