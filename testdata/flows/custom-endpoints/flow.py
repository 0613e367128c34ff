"""Start and end are marked, not named."""

from metaflow import FlowSpec, step


class EndpointsFlow(FlowSpec):
    @step(start=True)
    def load(self):
        self.rows = list(range(4))
        self.next(self.work)

    @step
    def work(self):
        self.doubled = [2 * row for row in self.rows]
        self.next(self.report)

    @step(end=True)
    def report(self):
        self.text = ",".join(map(str, self.doubled))


if __name__ == "__main__":
    EndpointsFlow()
