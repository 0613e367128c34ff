"""Retries first, then the failure is caught."""

from metaflow import FlowSpec, catch, current, retry, step


class CatchRetryFlow(FlowSpec):
    @catch(var="problem")
    @retry(times=1, minutes_between_retries=0)
    @step
    def start(self):
        self.reached = current.retry_count
        raise RuntimeError("always")
        self.next(self.end)

    @step
    def end(self):
        self.caught = self.problem is not None
        print(self.caught, self.reached)


if __name__ == "__main__":
    CatchRetryFlow()
