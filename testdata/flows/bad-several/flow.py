"""Many mistakes at once: all are told, in the order of the file."""

from metaflow import FlowSpec, Parameter, retry, step


class Several(FlowSpec):
    with_ = Parameter("with", default="x")

    @retry(times=9)
    @step
    def start(self):
        self.next(self.A)

    @step
    def A(self):
        self.next(self.missing)

    @step
    def end(self):
        self.next(self.A)


if __name__ == "__main__":
    Several()
