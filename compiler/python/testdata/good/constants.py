from metaflow import FlowSpec, step


class Constants(FlowSpec):
    NOTHING = None
    TEXT, NUMBER = "x", 1
    FLOAT: float = 0.5
    INFINITE = float("inf")
    LIST = [1, [True]]
    TUPLE = (1, 2)
    SET = {1}
    DICT = {"a": {"b": 1}}
    KEYS = {1: 2}
    _private = 1
    UNSET: int

    class Inner:
        pass

    @staticmethod
    def static():
        pass

    @classmethod
    def of_class(cls):
        pass

    @property
    def prop(self):
        return 1

    @step
    def only(self):
        pass
