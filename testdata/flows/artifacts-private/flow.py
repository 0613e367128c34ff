"""Names with an underscore in front are artifacts too."""

from metaflow import FlowSpec, step


class PrivateFlow(FlowSpec):
    @step
    def start(self):
        self._hidden = 1
        self.seen = self._hidden + 1
        self.next(self.end)

    @step
    def end(self):
        print(self._hidden, self.seen)


if __name__ == "__main__":
    PrivateFlow()
