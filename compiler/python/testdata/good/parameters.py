from metaflow import FlowSpec, IncludeFile, JSONType, Parameter, step


def today(context):
    return "2026-01-0%d %s" % (3, context.parameter_name)


class Parameters(FlowSpec):
    plain = Parameter("plain")
    required = Parameter("required", required=True, type=int, help="a number")
    ignored_required = Parameter("ignored-required", required=True, default=1)
    text = Parameter("text", default="ä", show_default=False)
    number = Parameter("number", default=3)
    as_float = Parameter("as_float", default=3, type=float)
    from_text = Parameter("from_text", default="17", type=int)
    flag = Parameter("flag", default=True)
    flag_text = Parameter("flag_text", default="no", type=bool)
    json = Parameter("json", type=JSONType, default='{"a": [1, 2.5, null]}')
    data = Parameter("data", type=JSONType, default={"b": 1})
    items = Parameter("items", default=[1, 2])
    split = Parameter("split", default="a,b", separator=",")
    computed = Parameter("computed", default=today)
    movies = IncludeFile("movies", default="movies.csv", help="The file")
    blob = IncludeFile("blob", is_text=False, required=True)
    parsed = IncludeFile("parsed", encoding="latin-1", parser="json.loads")

    @step
    def start(self):
        self.next(self.end)

    @step
    def end(self):
        pass


if __name__ == "__main__":
    Parameters()
