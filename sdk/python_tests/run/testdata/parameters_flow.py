"""Parameters of every kind; parameters_flow.json holds the digests of what Metaflow stores for them."""

from metaflow import FlowSpec, JSONType, Parameter, step


def computed(context):
    return f"{context.flow_name}-{context.parameter_name}-{context.user_name}"


class ParametersFlow(FlowSpec):
    an_int = Parameter("an-int", default=3)
    a_float = Parameter("a_float", default=0.5)
    float_of_int = Parameter("float_of_int", default=1, type=float)
    a_bool = Parameter("a_bool", default=True)
    false_bool = Parameter("false_bool", default=False)
    a_text = Parameter("a_text", default="text \u00e9")
    empty_text = Parameter("empty_text", default="")
    nothing = Parameter("nothing")
    a_json = Parameter("a_json", type=JSONType, default='{"a": [1, {"b": null}], "a2": "a"}')
    json_object = Parameter("json_object", type=JSONType, default={"k": [1, 2]})
    a_list = Parameter("a_list", separator=",", default="a,b,a")
    single = Parameter("single", separator=",", default="a")
    from_function = Parameter("from_function", default=computed)
    int_from_function = Parameter("int_from_function", default=lambda context: 7, type=int)
    float_from_function = Parameter("float_from_function", default=lambda context: 2.5, type=float)
    given_int = Parameter("given_int", default=0)
    given_float = Parameter("given_float", default=0.0)
    given_bool = Parameter("given_bool", default=False)
    given_json = Parameter("given_json", type=JSONType)
    given_list = Parameter("given_list", separator=":")
    given_text = Parameter("given_text", type=str)

    a_constant = 17
    constant_map = {"a": 1, "b": [1, 2, (3, "x")]}
    constant_none = None
    _private = ["p"]

    @step
    def start(self):
        self.next(self.end)

    @step
    def end(self):
        pass


if __name__ == "__main__":
    ParametersFlow()
