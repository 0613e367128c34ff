"""The job `step`: which artifacts are read, stored and passed on."""

from __future__ import annotations

import pickle
import unittest

from .flows import StepTest
from .harness import INLINE_MAX


class ArtifactTest(StepTest):
    def test_what_is_stored(self) -> None:
        task = self.start(
            "self.x = 1\nself._hidden = 2\nself.__mangled = 3\nself.f = len\nself.g = lambda: 1\n"
            "self._transition = self._task_ok = 4\nlocal = 5\nself.computed\nself.next(self.end)",
            members="    constant = 6\n    _private = 7\n    class Nested: pass\n"
            "    @property\n    def shown(self): return 8\n"
            "    from functools import cached_property\n"
            "    @cached_property\n    def computed(self): return 9\n"
            "    @staticmethod\n    def helper(): pass\n    @classmethod\n    def other(cls): pass\n",
        )
        self.assertTrue(task.ok, task.stderr)
        self.assertEqual(set(task.pickles), {"x", "_hidden", "_F__mangled", "f", "_private", "computed"})
        self.assertEqual(task.types["x"], "<class 'int'>")
        self.assertEqual(task.pickles["x"], b"\x80\x04K\x01.")

    def test_artifacts_are_read_when_touched_and_put_when_changed(self) -> None:
        worker = self.flow(
            """
    @step
    def start(self):
        self.untouched = 1
        self.read = [1, 2]
        self.number = 10**6
        self.changed = {"a": 1}
        self.replaced = 2
        self.deleted = 3
        self.next(self.end)
    @step
    def end(self):
        print(self.read, self.number, hasattr(self, "absent"))
        self.changed["b"] = 2
        self.replaced = 4
        del self.changed["a"]
        self.deleted
        del self.deleted
        self.new = 5
        """
        )
        start = worker.step("start", next="end")
        end = worker.step("end", start)
        self.assertEqual(end.stdout, "[1, 2] 1000000 False\n")
        self.assertEqual(end.gets, ["read", "number", "changed", "deleted"])
        self.assertEqual({n: end[n] for n in end.pickles}, {"changed": {"b": 2}, "replaced": 4, "new": 5})
        self.assertEqual(end.artifacts["untouched"], start.artifacts["untouched"])

    def test_large_artifacts_travel_as_files(self) -> None:
        worker = self.flow(
            f"""
    @step
    def start(self):
        self.data = b"x" * {3 * INLINE_MAX}
        self.rows = [{{"n": i}} for i in range(100000)]
        self.same = [str(i) for i in range({INLINE_MAX})]
        self.limit = b"x" * {INLINE_MAX - 18}
        self.next(self.end)
    @step
    def end(self):
        self.rows[0]["n"] = len(self.data) + len(self.same)
        """
        )
        start = worker.step("start", next="end")
        self.assertEqual(sorted(start.by_file), ["data", "rows", "same"])
        self.assertEqual(len(start.pickles["limit"]), INLINE_MAX)
        self.assertEqual(start.pickles["rows"], pickle.dumps(start["rows"], 4))
        end = worker.step("end", start)
        self.assertEqual(list(end.pickles), ["rows"])
        self.assertEqual(end["rows"][0], {"n": 4 * INLINE_MAX})
        self.assertEqual(len(end["rows"]), 100000)

    def test_unpicklable_artifacts(self) -> None:
        task = self.start(
            "self.good = 1\nself.lock = __import__('threading').Lock()\nself.g = (i for i in [1])\n"
            "self.me = [self]\nself.next(self.end)"
        )
        self.assertEqual({n: task[n] for n in task.pickles}, {"good": 1})
        self.assertEqual(task.error["type"], "metaflow._run.artifacts.PickleError")
        self.assertIn("artifact 'self.g' cannot be stored: a value of type <class 'generator'>", task.stderr)
        self.assertIn("(del self.g)", task.stderr)
        self.assertIn("such as list(...)", task.stderr)
        self.assertNotIn("metaflow/_run", task.stderr)
        self.assertEqual(task.exited["code"], 1)

    def test_parameters_and_constants_are_read_only(self) -> None:
        task = self.start(
            "print(self.alpha, self.k)\n"
            "for name in ('alpha', 'k'):\n"
            "    try:\n        setattr(self, name, 1)\n"
            "    except AttributeError as error:\n        print(error)\n"
            "self.next(self.end)",
            members="    alpha = Parameter('alpha', default=3)\n    k = [4]\n",
        )
        lines = task.stdout.splitlines()
        self.assertEqual(lines[0], "3 [4]")
        self.assertEqual(len(lines), 3, task.stdout)
        self.assertTrue(lines[1].startswith("self.alpha cannot be set: parameters, configs and class variables"))
        self.assertEqual(task.pickles, {})

    def test_missing_attributes(self) -> None:
        task = self.start("print(getattr(self, 'x', 'none'))\nself.x\nself.next(self.end)")
        self.assertEqual(task.stdout, "none\n")
        self.assertEqual(task.error["type"], "builtins.AttributeError")
        self.assertIn("flow F has no attribute 'x': no step before 'start' has set self.x", task.error["message"])

    def test_an_artifact_that_cannot_be_read_is_no_attribute_error(self) -> None:
        worker = self.flow(
            """
    @step
    def start(self):
        self.next(self.end)
    @step
    def end(self):
        print(hasattr(self, "x"))
        """
        )
        start = worker.step("start", next="end")
        start.artifacts["x"] = worker.store(b"\x80\x04\x8c\x07no_suchq\x00\x8c\x01Xq\x01\x93.")
        self.assertIn("artifact 'x' could not be unpickled: ModuleNotFoundError", worker.step("end", start).stderr)
        start.artifacts["x"] = "0" * 40
        self.assertIn("artifact 'x' could not be read: there is no blob", worker.step("end", start).stderr)

    def test_classes_of_the_flow_file_are_in_main(self) -> None:
        worker = self.flow(
            "    @step\n    def start(self):\n        self.p = Point(1)\n        self.next(self.end)\n"
            "    @step\n    def end(self):\n        print(self.p.x, type(self.p).__module__)\n",
            head="class Point:\n    def __init__(self, x):\n        self.x = x\n",
        )
        start = worker.step("start", next="end")
        self.assertEqual(start.types["p"], "<class '__main__.Point'>")
        self.assertEqual(worker.step("end", start).stdout, "1 __main__\n")

    def test_internal_attributes_can_be_read(self) -> None:
        task = self.start(
            "print(self._current_step, self._foreach_stack, self._iteration_stack, self.name)\nself.next(self.end)",
            iteration=2,
        )
        self.assertEqual(task.stdout, "start [] [2] F\n")
        self.assertEqual(task.pickles, {})


if __name__ == "__main__":
    unittest.main()
