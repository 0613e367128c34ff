from metaflow import FlowSpec, step


class NextMissing(FlowSpec):
    @step
    def start(self):
        self.next(self.work)

    @step
    def work(self):
        self.x = 1

    @step
    def end(self):
        pass


if __name__ == "__main__":
    NextMissing()
