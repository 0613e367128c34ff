"""Decorators, parameters and configs where no loader is at work: mistakes raise."""

import pickle
import unittest

from metaflow import Config, ConfigValue, FlowSpec, JSONType, Parameter, card, config_expr, project, retry, step
from metaflow._decorator_table import FLOW_DECORATORS, STEP_DECORATORS
from metaflow.exception import MetaflowException, ParameterFieldFailed, ParameterFieldTypeMismatch
from metaflow.includefile import IncludedFile, IncludeFile
from metaflow.parameters import ParameterContext


def context(**changes):
    return ParameterContext(**{"flow_name": "F", "user_name": "u", "parameter_name": "", **changes})


class Decorators(unittest.TestCase):
    def test_every_decorator_in_both_forms(self):
        import metaflow

        for name, defaults in STEP_DECORATORS.items():
            for apply in (getattr(metaflow, name), getattr(metaflow, name)()):

                @step
                def start(self):
                    pass

                with self.subTest(name):
                    self.assertIs(apply(start), start)
                    self.assertEqual([(d.name, d.attributes) for d in start.decorators], [(name, defaults)])
        for name, defaults in FLOW_DECORATORS.items():
            for apply in (getattr(metaflow, name), getattr(metaflow, name)()):

                class Flow(FlowSpec):
                    pass

                with self.subTest(name):
                    self.assertIs(apply(Flow), Flow)
                    self.assertEqual([(d.name, d.attributes) for d in Flow._mf_own_decorators], [(name, defaults)])

    def test_defaults_are_not_shared(self):
        @card
        @step
        def first(self):
            pass

        first.decorators[0].attributes["options"]["changed"] = 1
        self.assertEqual(STEP_DECORATORS["card"]["options"], {})

    def test_unknown_attribute(self):
        with self.assertRaisesRegex(MetaflowException, "no attribute 'tims'; did you mean 'times'.*minutes_between_retries, times"):
            retry(tims=3)

    def test_wrong_targets(self):
        def plain(self):
            pass

        for apply in (
            lambda: retry(plain),
            lambda: retry(3),
            lambda: project(plain),
            lambda: step("text"),
            lambda: retry(times=1)(retry(step(plain))),
        ):
            with self.assertRaises(MetaflowException):
                apply()


class Parameters(unittest.TestCase):
    def make(self, **options):
        parameter = Parameter("p", **options)
        parameter.resolve(lambda value: value)
        return parameter

    def test_texts(self):
        for options, text, want in (
            ({}, "x", "x"),
            ({"type": int}, "-7", -7),
            ({"default": 1}, "7", 7),
            ({"type": float}, "1e3", 1000.0),
            ({"type": bool}, "Yes", True),
            ({"type": bool}, "off", False),
            ({"type": JSONType}, '{"a": [1]}', {"a": [1]}),
            ({"separator": ","}, "a,b", ["a", "b"]),
            ({"separator": ","}, "", ""),
        ):
            with self.subTest(text):
                value = self.make(**options).convert(text)
                self.assertEqual((value, type(value)), (want, type(want)))

    def test_wrong_texts(self):
        for kind, text in ((int, "1.5"), (float, "x"), (bool, "maybe"), (JSONType, "{")):
            with self.subTest(text), self.assertRaisesRegex(MetaflowException, "parameter 'p' takes .* not " + repr(text)[:3]):
                self.make(type=kind).convert(text)

    def test_defaults(self):
        seen = []

        def one(context):
            seen.append((context.parameter_name, context.flow_name))
            return 3

        def two(context, deploy_time):
            seen.append(deploy_time)
            return "a,b"

        for options, want in (
            ({}, None),
            ({"default": "5", "type": int}, 5),
            ({"default": 5, "type": float}, 5.0),
            ({"default": 5, "type": str}, "5"),
            ({"default": one, "type": int}, 3),
            ({"default": two, "separator": ","}, ["a", "b"]),
            ({"default": "[1]", "type": JSONType}, [1]),
            ({"default": {"a": 1}}, {"a": 1}),
        ):
            with self.subTest(options):
                value = self.make(**options).default_value(context())
                self.assertEqual((value, type(value)), (want, type(want)))
        self.assertEqual(seen, [("p", "F"), False])

    def test_wrong_defaults(self):
        def fails(context):
            raise KeyError("x")

        with self.assertRaises(ParameterFieldFailed):
            self.make(default=fails).default_value(context())
        with self.assertRaises(ParameterFieldTypeMismatch):
            self.make(default=lambda context: 1.5, type=int).default_value(context())
        with self.assertRaises(MetaflowException):
            self.make(default=[], type=int).default_value()

    def test_options(self):
        self.make(hidden=True, metavar="X")
        with self.assertRaisesRegex(MetaflowException, "no option 'defualt'; did you mean 'default'"):
            self.make(defualt=1)
        with self.assertRaises(TypeError):
            self.make()["key"]

    def test_include_file(self):
        file = IncludeFile("f", default="a.csv", is_text=False, parser=lambda content: content.upper())
        file.resolve(lambda value: value)
        self.assertEqual((file.kind, file.default_value(), file.is_text), ("file", "a.csv", False))
        self.assertEqual(file.parse("a"), "A")
        stored = pickle.dumps(IncludedFile({"size": 3}), 4)
        self.assertIn(b"metaflow.includefile", stored)
        self.assertEqual(pickle.loads(stored).size, 3)


class Configs(unittest.TestCase):
    def test_value(self):
        value = ConfigValue({"a": {"b": [{"c": 1}]}, "keys": 2})
        self.assertEqual((value.a.b[0].c, value["a"]["b"], dict(value)["a"]), (1, [{"c": 1}], {"b": [{"c": 1}]}))
        for change in (
            lambda: value.update(x=1),
            lambda: value.__setitem__("x", 1),
            lambda: setattr(value, "x", 1),
            lambda: value.a.pop("b"),
        ):
            with self.assertRaises(TypeError):
                change()
        with self.assertRaises(AttributeError):
            value.nothing
        self.assertIs(type(value.to_dict()["a"]), dict)

    def test_value_is_pickled_as_metaflow_does(self):
        stored = pickle.dumps(ConfigValue({"a": {"b": 1}}), 4)
        self.assertIn(b"metaflow.user_configs.config_parameters", stored)
        self.assertEqual(pickle.loads(stored).a.b, 1)

    def test_expressions(self):
        offset = 40  # noqa: F841 (not visible to the expression: only globals are)
        config = Config("my-config", default_value={})
        configs = {"my-config": ConfigValue({"a": {"k": 2}, "n": "k"}), "c": ConfigValue({"x": 1})}
        for expression, want in (
            (config.a.k, 2),
            (config["a"]["k"], 2),
            (config.a[config.n], 2),
            (config_expr("c.x + len('ab')"), 3),
            (config_expr("c").x, 1),
            (config_expr("context().user_name"), "u"),
        ):
            with self.subTest(str(expression)):
                self.assertEqual(expression.evaluate(configs), want)
        with self.assertRaisesRegex(MetaflowException, "offset"):
            config_expr("offset").evaluate(configs)

    def test_unpacking(self):
        from metaflow.user_configs.config_parameters import resolve

        config = Config("c", default_value={})
        self.assertEqual(resolve(dict(**config.r, y=config.x), {"c": ConfigValue({"r": {"z": 1}, "x": 2})}), {"z": 1, "y": 2})
        self.assertEqual(resolve([{"k": (config,)}], {"c": ConfigValue({"a": 1})}), [{"k": ({"a": 1},)}])

    def test_both_defaults(self):
        with self.assertRaisesRegex(MetaflowException, "both default"):
            Config("c", default="f", default_value="{}")


if __name__ == "__main__":
    unittest.main()
