"""The first attempt fails, the second does not."""

from metaflow import FlowSpec, current, retry, step


class RetryFlow(FlowSpec):
    @retry(times=2, minutes_between_retries=0)
    @step
    def start(self):
        if current.retry_count < 1:
            raise ValueError("not yet")
        self.attempt = current.retry_count
        self.next(self.end)

    @step
    def end(self):
        print(self.attempt)


if __name__ == "__main__":
    RetryFlow()
