from metaflow import FlowSpec, step, timeout


class Timeout(FlowSpec):
    @timeout
    @step
    def start(self):
        self.next(self.a)

    @timeout(minutes=-1)
    @step
    def a(self):
        self.next(self.end)

    @timeout(seconds="soon")
    @step
    def end(self):
        pass


if __name__ == "__main__":
    Timeout()
