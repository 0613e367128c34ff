from metaflow import FlowSpec, Parameter, step


class Linear(FlowSpec):
    """A flow of three steps.

    Its documentation has two paragraphs.
    """

    alpha = Parameter("alpha", default=0.5, help="How much")
    UNIT = "kg"

    @step
    def start(self):
        self.total = self.alpha * 2
        self.next(self.middle)

    @step
    def middle(self):
        """Adds one."""
        self.total += 1
        self.next(self.end)

    @step
    def end(self):
        print(self.total, self.UNIT)


if __name__ == "__main__":
    Linear()
    raise RuntimeError("what stands behind FlowSpec() is not executed")
