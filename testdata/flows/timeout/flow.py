"""Time limits that are not reached."""

from metaflow import FlowSpec, step, timeout


class TimeoutFlow(FlowSpec):
    @timeout(minutes=1, seconds=30)
    @step
    def start(self):
        self.fine = True
        self.next(self.end)

    @timeout(hours=1)
    @step
    def end(self):
        print(self.fine)


if __name__ == "__main__":
    TimeoutFlow()
