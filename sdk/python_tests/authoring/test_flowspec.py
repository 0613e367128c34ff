import pickle
import unittest

from metaflow import Config, FlowSpec, Parameter, UserStepDecorator, step, user_step_decorator
from metaflow._state import DefinitionError
from metaflow.exception import MetaflowException
from metaflow.flowspec import InvalidNextException, members, steps
from metaflow.user_decorators.run import wrap


class Context:
    """A TaskContext that remembers what it was asked."""

    index, input = 2, "item"

    def __init__(self, **artifacts):
        self.artifacts = artifacts
        self.calls = []

    def get_artifact(self, name):
        self.calls.append(name)
        if name not in self.artifacts:
            raise AttributeError("no artifact " + name)
        return self.artifacts[name]

    def foreach_stack(self):
        return [(2, 3, "item")]

    def merge_artifacts(self, inputs, exclude, include):
        self.calls.append((inputs, exclude, include))

    def next(self, targets, **options):
        self.calls.append(([t.__name__ for t in targets if callable(t)], options))


def running(cls, **artifacts):
    flow = cls(use_cli=False)
    flow.__dict__["_mf_task"] = context = Context(**artifacts)
    return flow, context


class Base(FlowSpec):
    inherited = Parameter("inherited")

    @step
    def start(self):
        self.next(self.end)

    @step
    def end(self):
        pass


class Flow(Base):
    config = Config("config", default_value={"a": 1})
    CONSTANT = [1]

    @step
    def middle(self):
        pass

    @step
    def start(self):
        """Overrides."""

    def helper(self):
        pass

    @property
    def computed(self):
        return 1


class Running(unittest.TestCase):
    def test_artifacts_are_loaded_once(self):
        flow, context = running(Base, x=[1])
        self.assertIs(flow.x, flow.x)
        self.assertEqual(context.calls, ["x"])
        with self.assertRaisesRegex(AttributeError, "no artifact y"):
            flow.y
        self.assertFalse(hasattr(flow, "__array__"))

    def test_read_only(self):
        class Bound(Flow):
            pass

        Bound._mf_bind_read_only(["inherited", "CONSTANT", "config"])
        flow, _ = running(Bound, inherited=5, CONSTANT=[2], config={"a": {"b": 3}})
        self.assertEqual((flow.inherited, flow.CONSTANT, flow.config.a.b), (5, [2], 3))
        self.assertIs(flow.config, flow.config)
        with self.assertRaises(AttributeError):
            flow.inherited = 6
        self.assertIsInstance(Flow.__dict__.get("CONSTANT"), list)

    def test_interface(self):
        flow, context = running(Flow)
        self.assertEqual((flow.index, flow.input, flow.foreach_stack()), (2, "item", [(2, 3, "item")]))
        flow.merge_artifacts("inputs", exclude=["a"])
        flow.next(flow.end, foreach="x")
        with self.assertRaisesRegex(InvalidNextException, "'for_each'"):
            flow.next(flow.end, for_each="x")
        nothing = {"num_parallel": None, "condition": None}
        self.assertEqual(context.calls, [("inputs", ["a"], None), (["end"], {"foreach": "x", **nothing})])
        with self.assertRaisesRegex(MetaflowException, "cannot be stored"):
            pickle.dumps(flow)

    def test_while_authoring(self):
        flow = Flow(use_cli=False)
        with self.assertRaisesRegex(AttributeError, "flow Flow has no attribute 'x'"):
            flow.x
        with self.assertRaisesRegex(MetaflowException, "while the flow runs"):
            flow.next(flow.end)
        self.assertEqual([s.name for s in flow], ["start", "end", "middle"])

    def test_members(self):
        self.assertEqual(list(steps(Flow)), ["start", "end", "middle"])
        self.assertEqual(steps(Flow)["start"].__doc__, "Overrides.")
        self.assertEqual(list(members(Flow)), ["inherited", "config", "CONSTANT"])


class Around(UserStepDecorator):
    def init(self, name="", log=None, skip=False, replace=None, swallow=False):
        self.name, self.log, self.skip, self.replace, self.swallow = name, log, skip, replace, swallow

    def pre_step(self, step_name, flow, inputs=None):
        self.log.append(self.name + "-pre")
        self.skip_step = self.skip
        return self.replace

    def post_step(self, step_name, flow, exception=None):
        self.log.append(self.name + "-post")
        return None if self.swallow else exception


class UserDecorators(unittest.TestCase):
    def run_step(self, decorators, body, transition=None):
        def one(self):
            body(self)

        function = step(one)
        for decorator in decorators:
            decorator(function)
            decorator.external_init()
        flow, context = running(Base)
        default = {"kind": "linear", "targets": [{"step": "end"}]}
        wrap(function, lambda: transition or default)(flow)
        return context.calls

    def setUp(self):
        self.log = []

    def body(self, flow):
        self.log.append("body")
        flow.next(flow.end)

    nothing = {"foreach": None, "num_parallel": None, "condition": None}

    def test_order(self):
        calls = self.run_step([Around(name=n, log=self.log) for n in "ab"], self.body)
        self.assertEqual(self.log, ["b-pre", "a-pre", "body", "a-post", "b-post"])
        self.assertEqual(calls, [(["end"], self.nothing)])

    def test_skip(self):
        each = {"kind": "foreach", "targets": [{"step": "end"}], "foreach": "xs"}
        calls = self.run_step([Around(name="a", log=self.log, skip=True)], self.body, each)
        self.assertEqual(self.log, ["a-pre", "a-post"])
        self.assertEqual(calls, [(["end"], {**self.nothing, "foreach": "xs"})])

    def test_skip_of_a_gang(self):
        gang = {"kind": "parallel", "targets": [{"step": "end"}]}
        with self.assertRaisesRegex(MetaflowException, "gang"):
            self.run_step([Around(name="a", log=self.log, skip=True)], self.body, gang)

    def test_replace(self):
        def instead(flow):
            self.log.append("instead")
            return {"foreach": "ys"}

        calls = self.run_step([Around(name="a", log=self.log, replace=instead)], self.body)
        self.assertEqual(self.log, ["a-pre", "instead", "a-post"])
        self.assertEqual(calls, [(["end"], {**self.nothing, "foreach": "ys"})])

    def test_exceptions(self):
        def fails(flow):
            raise ValueError("x")

        with self.assertRaisesRegex(ValueError, "x"):
            self.run_step([Around(name="a", log=self.log)], fails)
        calls = self.run_step([Around(name="a", log=self.log, swallow=True)], fails)
        self.assertEqual(calls, [(["end"], self.nothing)])

    def test_generators(self):
        log = self.log

        @user_step_decorator
        def logs(step_name, flow, inputs, attributes):
            log.append((step_name, attributes))
            yield
            log.append("after")

        @user_step_decorator
        def handles(step_name, flow, inputs):
            try:
                yield
            except ValueError:
                log.append("handled")

        @user_step_decorator
        def skips(step_name, flow, inputs):
            yield {}

        def fails(flow):
            raise ValueError("x")

        self.run_step([logs(a=1)], self.body)
        self.assertEqual(log, [("one", {"a": 1}), "body", "after"])
        log.clear()
        self.assertEqual(self.run_step([handles()], fails), [(["end"], self.nothing)])
        self.assertEqual(log, ["handled"])
        self.assertEqual(self.run_step([skips()], fails), [(["end"], self.nothing)])
        with self.assertRaisesRegex(MetaflowException, "no arguments"):
            self.run_step([skips(a=1)], fails)

    def test_use(self):
        @Around
        @step
        def bare(self):
            pass

        self.assertEqual((bare.name, type(bare.wrappers[0])), ("bare", Around))
        with self.assertRaises(DefinitionError):
            Around(name="x")(lambda self: None)
        with self.assertRaisesRegex(MetaflowException, "generator"):
            user_step_decorator(lambda a, b, c: None)


if __name__ == "__main__":
    unittest.main()
