"""Two cases of a switch lead to the same step."""

from metaflow import FlowSpec, step


class SharedBranchFlow(FlowSpec):
    @step
    def start(self):
        self.color = "green"
        self.next({"red": self.stop, "amber": self.stop, "green": self.go}, condition="color")

    @step
    def stop(self):
        self.moving = False
        self.next(self.end)

    @step
    def go(self):
        self.moving = True
        self.next(self.end)

    @step
    def end(self):
        print(self.moving)


if __name__ == "__main__":
    SharedBranchFlow()
