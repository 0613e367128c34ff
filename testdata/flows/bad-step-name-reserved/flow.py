from metaflow import FlowSpec, step


class ReservedStep(FlowSpec):
    @step
    def start(self):
        self.next(self.cmd)

    @step
    def cmd(self):
        self.next(self.end)

    @step
    def end(self):
        pass


if __name__ == "__main__":
    ReservedStep()
