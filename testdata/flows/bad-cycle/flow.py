from metaflow import FlowSpec, step


class Cycle(FlowSpec):
    @step
    def start(self):
        self.next(self.a)

    @step
    def a(self):
        self.next(self.b)

    @step
    def b(self):
        self.ok = "no"
        self.next({"yes": self.c, "no": self.a}, condition="ok")

    @step
    def c(self):
        self.next(self.end)

    @step
    def end(self):
        pass


if __name__ == "__main__":
    Cycle()
