"""The job `step`: foreach, joins, merging, transitions."""

from __future__ import annotations

import unittest
from typing import Any

from .flows import StepTest, foreach
from .harness import Task, Worker

FOREACH = """
    @step
    def start(self):
        self.xs = {xs}
        self.keep = "kept"
        self.next(self.body, foreach="xs")
    @step
    def body(self):
        {body}
        self.next(self.join)
    @step
    def join(self, inputs):
        {join}
        self.next(self.end)
    @step
    def end(self):
        pass
"""


class ForeachTest(StepTest):
    def over(self, xs: str, body: str = "self.y = self.input", join: str = "pass") -> tuple[Worker, Task]:
        worker = self.flow(FOREACH.format(xs=xs, body=body, join=join))
        return worker, worker.step("start", next=foreach("body", "xs"))

    def body(self, worker: Worker, start: Task, index: int) -> Task:
        return worker.step("body", start, item={"var": "xs", "index": index}, next="join")

    def test_items(self) -> None:
        cases = [
            ("['a', 2, 2.5, True, None]", ["a", "2", "2.5", "True", "None"], ["a", 2, 2.5, True, None]),
            ("'xyz'", ["x", "y", "z"], ["x", "y", "z"]),
            ("range(3)", ["0", "1", "2"], [0, 1, 2]),
            ("{7, 8}", ["8", "7"], [8, 7]),
            ("[[1, 2], 'long' * 20]", ["[1, 2]", ("long" * 20)[:30]], [[1, 2], "long" * 20]),
            ("[list(range(50))]", ["[0, 1, 2, 3, 4, 5, ...]"], [list(range(50))]),
        ]
        for xs, values, items in cases:
            with self.subTest(xs):
                worker, start = self.over(xs)
                expected = {"targets": ["body"], "foreach": "xs", "num_splits": len(items), "values": values}
                self.assertEqual(start.transition, {**expected, "num_parallel": None})
                found = []
                for index in range(len(items)):
                    task = self.body(worker, start, index)
                    found.append(task["y"])
                    self.assertEqual(list(task.pickles), ["y"])
                self.assertEqual(found, items)

    def test_the_list_is_not_read_when_the_item_is_not(self) -> None:
        worker, start = self.over("[1]", body="self.i = self.index")
        task = self.body(worker, start, 0)
        self.assertEqual((task["i"], task.gets), (0, []))

    def test_an_item_changed_in_place_changes_the_list(self) -> None:
        worker, start = self.over("[{'a': 1}, {'a': 2}]", body="self.input['a'] = 9")
        task = self.body(worker, start, 1)
        self.assertEqual(task["xs"], [{"a": 1}, {"a": 9}])
        worker, start = self.over("[{'a': 1}, {'a': 2}]", body="print(self.input is self.xs[self.index])")
        task = self.body(worker, start, 1)
        self.assertEqual((task.stdout, task.pickles, task.gets), ("True\n", {}, ["xs"]))

    def test_nested(self) -> None:
        worker = self.flow(
            """
    @step
    def start(self):
        self.xs = ["a", "b"]
        self.next(self.outer, foreach="xs")
    @step
    def outer(self):
        self.ys = [1, 2, 3]
        self.next(self.inner, foreach="ys")
    @step
    def inner(self):
        print(self.index, self.input, self.foreach_stack())
        self.next(self.later)
    @step
    def later(self):
        print(self.index, self.input, self.foreach_stack())
        self.next(self.join)
    @step
    def join(self, inputs):
        print(self.index, self.input, self.foreach_stack())
        print([(i.index, i.input, i.foreach_stack()) for i in inputs])
        self.next(self.join2)
    @step
    def join2(self, inputs):
        print(self.index, self.input, self.foreach_stack())
        self.next(self.end)
    @step
    def end(self):
        pass
        """
        )
        start = worker.step("start", next=foreach("outer", "xs"))
        outer = worker.step("outer", start, item={"var": "xs", "index": 1}, next=foreach("inner", "ys"))
        inners = [worker.step("inner", outer, item={"var": "ys", "index": i}, next="later") for i in range(3)]
        self.assertEqual(inners[2].stdout, "2 3 [(1, 2, 'b'), (2, 3, 3)]\n")
        laters = [worker.step("later", inner, next="join") for inner in inners]
        self.assertEqual(laters[2].stdout, "2 3 [(1, 2, 'b'), (2, 3, 3)]\n")
        join = worker.step("join", *laters, join="foreach", next="join2")
        stacks = [(i, i + 1, [(1, 2, "b"), (i, 3, i + 1)]) for i in range(3)]
        # The outer items are not passed on to the join of the inner foreach.
        self.assertEqual(join.stdout, f"1 None [(1, 2, None)]\n{stacks}\n", join.stderr)
        join2 = worker.step("join2", join, join="foreach", next="end")
        self.assertEqual(join2.stdout, "None None []\n")

    def test_what_cannot_be_gone_over(self) -> None:
        cases = [
            ("5", "step 'start' goes over self.xs, a int that is not iterable"),
            ("[]", "step 'start' goes over self.xs, which is empty; a foreach needs at least one item"),
            ("iter([1])", "a list_iterator, which can be read only once; store list(...) of it"),
            ("(i for i in [1])", "a generator, which can be read only once"),
        ]
        for xs, message in cases:
            with self.subTest(xs):
                _, start = self.over(xs)
                self.assertEqual(start.error["type"], "metaflow.flowspec.InvalidNextException")
                self.assertIn(message, start.error["message"])
                self.assertIn("self.next(self.body, foreach=", start.stderr)
        task = self.start("self.next(self.a, foreach='xs')", next=foreach("a", "xs"))
        self.assertIn("step 'start' goes over self.xs, which does not exist", task.stderr)


class JoinTest(StepTest):
    BRANCHES = """
    alpha = Parameter("alpha", default=3)
    k = 4
    @step
    def start(self):
        self.common = [1]
        self.differs = 0
        self.next(self.left, self.right)
    @step
    def left(self):
        self.only_left = "l"
        self.differs = 1
        self.same = (1, 2)
        self.next(self.join)
    @step
    def right(self):
        self.differs = 2
        self.same = (1, 2)
        self.next(self.join)
    @step
    def join(self, inputs):
{join}
        self.next(self.end)
    @step
    def end(self):
        pass
    """

    def join(self, body: str) -> Task:
        lines = "\n".join("        " + line for line in body.splitlines())
        worker = self.flow(self.BRANCHES.replace("{join}", lines))
        start = worker.step("start", next={"kind": "split", "targets": ["left", "right"]})
        left, right = (worker.step(name, start, next="join") for name in ("left", "right"))
        return worker.step("join", left, right, join="static", next="end")

    def test_inputs(self) -> None:
        task = self.join(
            "print([i.differs for i in inputs], inputs[0].only_left, inputs[-1].differs, len(inputs))\n"
            "print(inputs.left.same is inputs.left.same, inputs.right.alpha, inputs.right.k, self.alpha)\n"
            "print(hasattr(inputs.right, 'only_left'), hasattr(self, 'common'), [i.differs for i in inputs[1:]])\n"
            "print(inputs.left.index, inputs.left.input, inputs.left._current_step)"
        )
        self.assertEqual(
            task.stdout.splitlines(), ["[1, 2] l 2 2", "True 3 4 3", "False False [2]", "None None left"], task.stderr
        )
        self.assertEqual(task.pickles, {})

    def test_mistakes_with_inputs(self) -> None:
        cases = [
            ("inputs.middle", "join 'join' has no input from step 'middle'; its inputs come from: left, right"),
            ("inputs[2]", "IndexError"),
            ("inputs[0].nothing", "the input from step 'left' has no artifact 'nothing'"),
            ("self.common", "a join gets artifacts through its inputs: inputs[0].common, or self.merge_artifacts"),
            ("self.saved = inputs[0]", "artifact 'self.saved' cannot be stored"),
            ("inputs[0].alpha = 1", "AttributeError"),
            ("inputs[0].next(self.end)", "call self.next(), not next() of an input"),
        ]
        for body, message in cases:
            with self.subTest(body):
                task = self.join(body)
                self.assertFalse(task.ok)
                self.assertIn(message, task.stderr)

    def test_merge(self) -> None:
        task = self.join("self.differs = 5\nself.merge_artifacts(inputs)\nprint(self.common, self.only_left)")
        self.assertTrue(task.ok, task.stderr)
        self.assertEqual(task.refs, {"common": 0, "only_left": 0, "same": 0})
        self.assertEqual({n: task[n] for n in task.pickles}, {"differs": 5})
        self.assertEqual(task.gets, ["common", "only_left"])

    def test_merge_fetches_nothing(self) -> None:
        task = self.join("self.merge_artifacts(inputs, exclude=['differs'])")
        self.assertEqual((task.refs, task.gets), ({"common": 0, "only_left": 0, "same": 0}, []))
        task = self.join("self.merge_artifacts(inputs, include=['common'])")
        self.assertEqual((task.refs, task.gets), ({"common": 0}, []))

    def test_what_is_merged_can_be_changed(self) -> None:
        task = self.join(
            "self.merge_artifacts(inputs, include=['common', 'same'])\nself.common.append(2)\nself.same = 1"
        )
        self.assertEqual(({n: task[n] for n in task.pickles}, task.refs), ({"common": [1, 2], "same": 1}, {}))

    def test_conflicts_and_missing_names(self) -> None:
        task = self.join(
            "from metaflow.exception import UnhandledInMergeArtifactsException, MissingInMergeArtifactsException\n"
            "try:\n    self.merge_artifacts(inputs)\n"
            "except UnhandledInMergeArtifactsException as error:\n    print(error.artifact_names, error)\n"
            "try:\n    self.merge_artifacts(inputs, include=['common', 'nothing'])\n"
            "except MissingInMergeArtifactsException as error:\n    print(error.artifact_names, error)\n"
        )
        self.assertEqual(
            task.stdout.splitlines(),
            [
                "['differs'] step 'join' cannot merge artifacts that differ between its inputs: differs. Set them "
                "before merge_artifacts (self.differs = ...), or leave them out with exclude=[...]",
                "['nothing'] step 'join' wants to merge artifacts that no input has: nothing",
            ],
            task.stderr,
        )
        self.assertEqual(task.refs, {})
        task = self.join("self.merge_artifacts(inputs, include=['a'], exclude=['b'])")
        self.assertIn("merge_artifacts takes either include or exclude", task.stderr)
        task = self.start("self.merge_artifacts([self])\nself.next(self.end)")
        self.assertIn("step 'start' is not a join", task.stderr)


class TransitionTest(StepTest):
    SWITCH: dict[str, Any] = {
        "kind": "switch", "targets": ["a", "b"], "foreach": None, "condition": "c", "cases": [["x", "a"], [2, "b"]],
    }  # fmt: skip

    def test_switch(self) -> None:
        for value, target in (("'x'", "a"), ("2", "b")):
            body = f"self.c = {value}\nself.next({{'x': self.a, 2: self.b}}, condition='c')"
            task = self.start(body, next=self.SWITCH)
            self.assertEqual(task.transition["targets"], [target])
            self.assertIsNone(task.transition["foreach"])

    def test_recursion(self) -> None:
        following = {**self.SWITCH, "targets": ["start", "a"], "cases": [[True, "start"], [False, "a"]]}
        body = "self.c = self._iteration_stack[0] < 3\nself.next({True: self.start, False: self.a}, condition='c')"
        self.assertEqual(self.start(body, next=following, iteration=2).transition["targets"], ["start"])
        self.assertEqual(self.start(body, next=following, iteration=3).transition["targets"], ["a"])

    def test_gang(self) -> None:
        following = {"kind": "parallel", "targets": ["a"], "foreach": None}
        task = self.start("self.next(self.a, num_parallel=4)", next=following)
        expected = {"targets": ["a"], "foreach": None, "num_splits": None, "values": None, "num_parallel": 4}
        self.assertEqual(task.transition, expected)
        frames = [["a", "_parallel_ubf_iter", 4, 2, None]]
        worker = self.flow("    @step\n    def a(self):\n        print(self.input, self.index, self.foreach_stack())\n")
        task = worker.step("a", task, foreach_stack=frames)
        self.assertEqual(task.stdout, "2 2 [(2, 4, 2)]\n")

    def test_mistakes(self) -> None:
        switch, gang = self.SWITCH, {"kind": "parallel", "targets": ["a"]}
        cases: list[tuple[str, Any, str]] = [
            ("pass", "end", "step 'start' ended without calling self.next(); it should go to 'end'"),
            ("self.next(self.end)\nself.next(self.end)", "end", "step 'start' called self.next() twice"),
            ("self.next()", "end", "step 'start' calls self.next() without a step"),
            ("self.next(self.a)", "end", "step 'start' goes to 'a', but the flow's source says 'end'"),
            ("self.next(self.a)", None, "step 'start' is the end of the flow; it cannot call self.next()"),
            ("self.next('end')", "end", "argument 1 of self.next() is 'end', not a step"),
            ("self.next(self.end, when=1)", "end", "self.next() has no argument 'when'"),
            ("self.next({1: self.a})", switch, "without saying which artifact chooses"),
            ("self.next({}, condition='c')", switch, "takes one dictionary from values to steps"),
            ("self.next(self.a, condition='c')", switch, "takes one dictionary from values to steps"),
            ("self.next({1: self.a}, condition=1)", switch, "condition is the name of an artifact, a text"),
            ("self.next({1: self.a}, condition='c')", switch, "chooses the next step by self.c, which does not exist"),
            (
                "self.c = 'z'\nself.next({'x': self.a, 2: self.b}, condition='c')",
                switch,
                "RuntimeError: step 'start': self.c is 'z', which is none of the cases of self.next(): 'x', 2",
            ),
            ("self.c = [1]\nself.next({'x': self.a}, condition='c')", switch, "self.c is [1], which is none of the"),
            ("self.c = 1\nself.next({1: 2}, condition='c')", switch, "the case 1 of self.next() is 2, not a step"),
            ("self.next({1: self.a}, condition='c', foreach='c')", switch, "condition cannot go with foreach"),
            ("self.next(self.a, foreach=['x'])", foreach("a", "x"), "foreach is the name of an artifact, a text"),
            ("self.next(self.a, self.b, foreach='x')", foreach("a", "x"), "foreach takes exactly one step"),
            ("self.next(self.a, num_parallel='4')", gang, "num_parallel is '4', a str; it must be a whole number"),
            ("self.next(self.a, num_parallel=0)", gang, "num_parallel is 0; it must be at least 1"),
            ("self.next(self.a, self.b, num_parallel=2)", gang, "num_parallel takes exactly one step"),
            ("self.next(self.a, num_parallel=2, foreach='x')", gang, "num_parallel cannot go with foreach"),
        ]
        cases += [
            ("self.x = [1]\nself.next(self.end, foreach='x')", "end", "with foreach, against the flow's source"),
            ("self.next(self.a)", foreach("a", "x"), "without foreach, against the flow's source"),
            ("self.next(self.a)", gang, "without num_parallel, against the flow's source"),
        ]
        for body, following, message in cases:
            with self.subTest(body):
                task = self.start(body, next=following)
                self.assertIn(message, task.stderr)
                self.assertFalse(task.ok)
                self.assertNotIn("metaflow/", task.stderr)
                self.assertIsNone(task.done["parameter"])


if __name__ == "__main__":
    unittest.main()
