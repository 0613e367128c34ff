from metaflow import FlowSpec, step


class TwoEnds(FlowSpec):
    @step
    def start(self):
        self.way = "a"
        self.next({"a": self.a, "b": self.b}, condition="way")

    @step(end=True)
    def a(self):
        pass

    @step(end=True)
    def b(self):
        pass


if __name__ == "__main__":
    TwoEnds()
