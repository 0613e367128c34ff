from metaflow import Config, FlowSpec, config_expr, retry, step


def broken(text):
    raise ValueError("cannot parse")


class Bad(FlowSpec):
    absent = Config("absent", default="no_such_file.json")
    needed = Config("needed", required=True)
    not_json = Config("not_json", default_value="{a")
    parser = Config("parser", default_value="x", parser=broken)
    no_parser = Config("no_parser", default_value="x", parser="nowhere.at_all")
    listed = Config("listed", default_value="x", parser=list)
    settings = Config("settings", default_value={"a": 1})

    @retry(times=config_expr("settings.b"))
    @step
    def start(self):
        self.x = 1
        self.next({self.settings.a: self.end, self.settings.b: self.end}, condition="x")

    @retry(times=config_expr("1 +"))
    @step
    def end(self):
        pass
