from metaflow import FlowSpec, retry, step


class Wide(FlowSpec):
    @step
    def start(self):
        self.größe = "äöü"; self.next(self.end)

    @retry
    @step
    def end(self):
        "a   b"; print("日本", self.größe)
