"""The job `hook`: functions of @exit_hook."""

from __future__ import annotations

import os
from typing import Any

from .harness import FlowTest, Task, Worker

FLOW = """
from metaflow import FlowSpec, exit_hook, step
import helper

def plain():
    print("plain, run", __import__("os").environ["MF_STATUS"])

def takes(run):
    print("run is", run)

def anything(**given):
    print(sorted(given))

def fails():
    raise ValueError("no luck")

def leaves():
    raise SystemExit(0)

@exit_hook(on_success=[plain, helper.other, "anything"], on_error=[takes, fails, leaves])
@exit_hook(on_success=["helper.other", lambda: print("no name")], on_error=["nowhere", "helper.nothing", "broken.f"])
class F(FlowSpec):
    @step
    def start(self):
        self.next(self.end)

    @step
    def end(self):
        pass

if __name__ == "__main__":
    F()
"""


class HookTest(FlowTest):
    def setUp(self) -> None:
        super().setUp()
        self.flow: Worker = self.worker(FLOW)
        for name, text in {"helper": 'def other():\n    print("helped")\n', "broken": "import absent\n"}.items():
            with open(os.path.join(self.flow.folder, name + ".py"), "w", encoding="utf-8") as file:
                file.write(text)

    def call(self, use: int, success: bool, index: int) -> Task:
        job: dict[str, Any] = {"op": "hook", "use": use, "success": success, "index": index, "pathspec": "F/1"}
        return self.flow.run_job({**job, "env": {"MF_STATUS": "succeeded"}})

    def test_functions_are_called(self) -> None:
        for place, printed in {
            (0, True, 0): "plain, run succeeded\n",
            (0, True, 1): "helped\n",
            (0, True, 2): "['run']\n",
            (0, False, 0): "run is None\n",
            (0, False, 2): "",
            (1, True, 0): "helped\n",
            (1, True, 1): "no name\n",
        }.items():
            task = self.call(*place)
            self.assertTrue(task.ok, (place, task.stderr))
            self.assertEqual((task.stdout, task.exited["code"]), (printed, 0))

    def test_a_run_that_cannot_be_read_is_none(self) -> None:
        self.assertIn("the run F/1 cannot be read", self.call(0, False, 0).stderr)

    def test_a_failure_is_told(self) -> None:
        task = self.call(0, False, 1)
        self.assertEqual((task.error["message"], task.exited["code"]), ("no luck", 1))
        self.assertIn('raise ValueError("no luck")', task.stderr)

    def test_a_name_that_nobody_has(self) -> None:
        for index, name in enumerate(["nowhere", "helper.nothing"]):
            self.assertIn(f"there is no function '{name}'", self.call(1, False, index).error["message"])

    def test_a_module_that_cannot_be_imported_says_why(self) -> None:
        self.assertIn("absent", self.call(1, False, 2).error["message"])
