"""A config shapes the flow: a decorator, a parameter's default and the cases of a switch."""

from metaflow import Config, FlowSpec, Parameter, config_expr, environment, step


class ConfigFlow(FlowSpec):
    settings = Config("settings", default_value='{"fast": "quick", "slow": "thorough", "level": 3, "name": "A"}')

    level = Parameter("level", default=settings.level)

    @environment(vars={"CONFIG_NAME": config_expr("settings.name")})
    @step
    def start(self):
        self.way = "quick" if self.level < 5 else "thorough"
        self.next({self.settings.fast: self.quickly, self.settings.slow: self.thoroughly}, condition="way")

    @step
    def quickly(self):
        self.result = 1
        self.next(self.end)

    @step
    def thoroughly(self):
        self.result = 2
        self.next(self.end)

    @step
    def end(self):
        print(self.result)


if __name__ == "__main__":
    ConfigFlow()
