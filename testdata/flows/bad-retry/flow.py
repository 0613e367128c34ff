from metaflow import FlowSpec, retry, step


class Retry(FlowSpec):
    @retry(times=5)
    @step
    def start(self):
        self.next(self.a)

    @retry(times=-1, minutes_between_retries=-2)
    @step
    def a(self):
        self.next(self.b)

    @retry(times="often")
    @step
    def b(self):
        self.next(self.end)

    @retry(times=1.5)
    @step
    def end(self):
        pass


if __name__ == "__main__":
    Retry()
