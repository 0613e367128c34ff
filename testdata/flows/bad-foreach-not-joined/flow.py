from metaflow import FlowSpec, step


class ForeachNotJoined(FlowSpec):
    @step
    def start(self):
        self.items = [1]
        self.next(self.body, foreach="items")

    @step
    def body(self):
        self.next(self.end)

    @step
    def end(self):
        pass


if __name__ == "__main__":
    ForeachNotJoined()
