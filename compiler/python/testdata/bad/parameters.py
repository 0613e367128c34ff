from metaflow import Config, FlowSpec, IncludeFile, JSONType, Parameter, step


def broken(context):
    raise KeyError("no such key")


def wrong(context):
    return "text"


class Bad(FlowSpec):
    a = Parameter(3)
    b = Parameter("b", defualt=3)
    c = Parameter("c", type=complex)
    d = Parameter("d", type=int, default="x")
    e = Parameter("e", type=JSONType, default="{")
    f = Parameter("f", default=broken, type=int)
    g = Parameter("g", default=wrong, type=int)
    h = Parameter("h", type=int, separator=",")
    i = Parameter("i", required=lambda: True)
    j = Parameter("j", type=JSONType, default={1, 2})
    k = IncludeFile("k", is_txt=False)
    m = Config("m", default="x", default_value="y", plane=True)
    n = Parameter("n", default=m.missing)
    _o = Parameter("o")
    index = Parameter("index")

    @step
    def start(self):
        pass
