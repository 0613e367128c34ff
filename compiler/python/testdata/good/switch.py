from metaflow import Config, FlowSpec, step


class Switch(FlowSpec):
    names = Config("names", default_value={"slow": "s", "deep": {"level": 7}})

    @step(start=True)
    def begin(self):
        self.mode = "fast"
        self.next({"fast": self.loop, self.names.slow: self.slow, self.names.deep.level: self.slow}, condition="mode")

    @step
    def slow(self):
        self.next(self.finish)

    @step
    def loop(self):
        self.go_on = getattr(self, "count", 0) < 3
        self.next({True: self.loop, False: self.finish}, condition="go_on")

    @step(end=True)
    def finish(self):
        pass
