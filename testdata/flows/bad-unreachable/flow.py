from metaflow import FlowSpec, step


class Unreachable(FlowSpec):
    @step
    def start(self):
        self.next(self.end)

    @step
    def forgotten(self):
        self.next(self.behind)

    @step
    def behind(self):
        self.next(self.end)

    @step
    def alone(self):
        self.next(self.end)

    @step
    def end(self):
        pass


if __name__ == "__main__":
    Unreachable()
