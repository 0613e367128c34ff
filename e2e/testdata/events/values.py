"""Started by an event that gives values of all kinds. Its end starts others."""

import json

from metaflow import FlowSpec, JSONType, Parameter, current, project, step, trigger

TEXTS = ["plain", "quoted", "lines", "letters", "braces", "dollars", "return", "bell", "empty", "form", "no_value", "digits", "of_list"]
OTHERS = ["big", "negative", "worded", "part", "large", "on", "off", "listed", "nested", "spelled", "sum", "must"]
ABSENT = ["absent", "absent_odd", "absent_flag", "absent_list"]


@project(name="team_a")
@trigger(event={"name": "data.ready-1", "parameters": [*TEXTS, *OTHERS, *ABSENT, ["dashed", "a-field"], "nothing"]})
class ValuesFlow(FlowSpec):
    plain = Parameter("plain", default="not given")
    quoted = Parameter("quoted", default="not given")
    lines = Parameter("lines", default="not given")
    letters = Parameter("letters", default="not given")
    braces = Parameter("braces", default="not given")
    dollars = Parameter("dollars", default="not given")
    back = Parameter("return", default="not given")
    bell = Parameter("bell", default="not given")
    empty = Parameter("empty", default="not given")
    form = Parameter("form", default="not given")
    no_value = Parameter("no_value", default="not given")
    digits = Parameter("digits", default="not given")
    of_list = Parameter("of_list", default="not given")
    big = Parameter("big", type=int, default=0)
    negative = Parameter("negative", type=int, default=0)
    worded = Parameter("worded", type=int, default=0)
    part = Parameter("part", type=float, default=0.0)
    large = Parameter("large", type=float, default=0.0)
    on = Parameter("on", type=bool, default=False)
    off = Parameter("off", type=bool, default=True)
    listed = Parameter("listed", type=JSONType, default="[]")
    nested = Parameter("nested", type=JSONType, default="{}")
    spelled = Parameter("spelled", type=JSONType, default="{}")
    sum = Parameter("sum", type=int, default=1)
    must = Parameter("must", type=str, required=True)
    dashed = Parameter("dashed", default="not given")
    absent = Parameter("absent", default="a default")
    absent_odd = Parameter("absent_odd", default="Hello {{name}} $(HOME) $$5")
    absent_flag = Parameter("absent_flag", type=bool, default=True)
    absent_list = Parameter("absent_list", type=JSONType, default='[1, "a"]')
    nothing = Parameter("nothing", default="a default")

    @step
    def start(self):
        names = [*TEXTS, *OTHERS, *ABSENT, "dashed", "nothing"]
        event = current.trigger.event
        print("\x1e" + json.dumps({
            "values": {name: getattr(self, "back" if name == "return" else name) for name in names},
            "event": [event.name, event.id, event.type, event.timestamp.timestamp()],
        }))
        self.next(self.end)

    @step
    def end(self):
        pass


if __name__ == "__main__":
    ValuesFlow()
