from metaflow import Config, FlowSpec, Parameter, config_expr, environment, project, resources, retry, step, timeout


def upper(text):
    return {"text": text.strip().upper()}


def twice(value):
    return value * 2


@project(name=config_expr("settings.project.name"))
class Configs(FlowSpec):
    settings = Config("settings", default="configs_settings.json", required=True, help="Settings")
    given = Config("given-file", default_value={"unused": True})
    text = Config("text", default_value='{"a": 1}')
    parsed = Config("parsed", default_value="abc", parser=upper)
    plain = Config("plain", default_value="as it is", plain=True)
    absent = Config("absent")

    size = Parameter("size", default=settings.size, type=int)
    more = Parameter("more", default=config_expr("twice(settings.size)"))

    @environment(vars={"LEVEL": given.level, "TEXT": config_expr("parsed.text.lower()")})
    @resources(**settings.resources)
    @retry(times=settings["times"])
    @step
    def start(self):
        self.next(self.end)

    @timeout(seconds=config_expr("settings").seconds)
    @step
    def end(self):
        pass
