from metaflow import FlowSpec, environment, step


class Environment(FlowSpec):
    @environment(vars=["A=1"])
    @step
    def start(self):
        self.next(self.a)

    @environment(vars={"A=B": "x", "LIST": [1], "FINE": "yes"})
    @step
    def a(self):
        self.next(self.end)

    @step
    def end(self):
        pass


if __name__ == "__main__":
    Environment()
