"""`current` in a step body."""

from __future__ import annotations

import subprocess
import sys
import unittest
from typing import Any

from .harness import SDK, FlowTest, Task

FLOW = """
from metaflow import Config, FlowSpec, Parameter, current, step
class F(FlowSpec):
    alpha = Parameter("alpha-x", default=1)
    conf = Config("conf", default_value={{"a": 1}})
    @step
    def start(self):
        {body}
        self.next(self.end)
    @step
    def end(self):
        pass
if __name__ == "__main__":
    F()
"""

PROJECT = {"name": "p", "branch": "test.b", "flow_name": "p.test.b.F", "is_user_branch": False, "is_production": False}


class CurrentTest(FlowTest):
    def start(self, body: str, **fields: Any) -> Task:
        return self.worker(FLOW.format(body=body.replace("\n", "\n        "))).step("start", next="end", **fields)

    def shown(self, *names: str, **fields: Any) -> list[str]:
        task = self.start("\n".join(f"print(repr(current.{name}))" for name in names), **fields)
        self.assertTrue(task.ok, task.stderr)
        return task.stdout.splitlines()

    def test_the_task(self) -> None:
        names = "is_running_flow flow_name run_id step_name task_id retry_count origin_run_id pathspec"
        self.assertEqual(
            self.shown(*names.split(), run="7", task="t-9", attempt=2, origin_run="3"),
            ["True", "'F'", "'7'", "'start'", "'t-9'", "2", "'3'", "'F/7/start/t-9'"],
        )
        names = "namespace username tags tempdir parameter_names is_parallel origin_run_id"
        self.assertEqual(
            self.shown(*names.split()),
            ["'user:tester'", "'tester'", "['t1']", "'.'", "['conf', 'alpha']", "False", "None"],
        )

    def test_the_project(self) -> None:
        names = "project_name branch_name project_flow_name is_user_branch is_production"
        self.assertEqual(
            self.shown(*names.split(), project=PROJECT), ["'p'", "'test.b'", "'p.test.b.F'", "False", "False"]
        )

    def test_a_gang(self) -> None:
        given = {"num_nodes": 4, "node_index": 2, "main_ip": "10.0.0.1", "control_task_id": "5"}
        expected = "Parallel(main_ip='10.0.0.1', num_nodes=4, node_index=2, control_task_id='5')"
        self.assertEqual(self.shown("parallel", "is_parallel", parallel=given), [expected, "True"])
        env = {"MF_PARALLEL_NUM_NODES": "3", "MF_PARALLEL_NODE_INDEX": "1", "MF_PARALLEL_MAIN_IP": "h"}
        expected = "Parallel(main_ip='h', num_nodes=3, node_index=1, control_task_id=None)"
        self.assertEqual(self.shown("parallel", env=env), [expected])
        expected = "Parallel(main_ip='127.0.0.1', num_nodes=1, node_index=0, control_task_id=None)"
        self.assertEqual(self.shown("parallel"), [expected])

    def test_absent_attributes(self) -> None:
        task = self.start(
            "print(current.get('project_name'), current.get('x', 5), 'run_id' in current, 'trigger' in current)\n"
            "for name in ('trigger', 'project_name', 'nothing'):\n"
            "    try:\n        getattr(current, name)\n    except AttributeError as error:\n        print(error)"
        )
        self.assertEqual(
            task.stdout.splitlines(),
            [
                "None 5 True False",
                "current.trigger is not set: the run was not started by an event",
                "current.project_name is not set: the flow has no @project decorator",
                "current has no attribute 'nothing'",
            ],
        )

    def test_outside_a_step(self) -> None:
        source = (
            "from metaflow import current\n"
            "print(current.is_running_flow, current.run_id, current.pathspec, current.task, current.run)\n"
            "for name in ('is_production', 'parameter_names', 'graph'):\n"
            "    try:\n        getattr(current, name)\n"
            "    except (AttributeError, RuntimeError) as error:\n        print(error)\n"
        )
        command = [sys.executable, "-c", source]
        out = subprocess.run(command, env={"PYTHONPATH": SDK}, check=True, capture_output=True, text=True).stdout
        self.assertEqual(
            out.splitlines(),
            [
                "False None None None None",
                "current.is_production is not set: the flow has no @project decorator",
                "current.parameter_names is not set: no step is running",
                "current.graph is known only while a step runs",
            ],
        )

    def test_the_graph(self) -> None:
        worker = self.worker(FLOW.format(body="print(current.graph['steps'])"))
        worker.init()
        worker.parameters.artifacts["_graph_info"] = worker.store(b"\x80\x04}\x8c\x05steps]s.")
        self.assertEqual(worker.step("start", next="end").stdout, "[]\n")

    def test_cards_do_nothing(self) -> None:
        task = self.start(
            "current.card.append('x')\ncurrent.card['id'].append('y', id='z')\ncurrent.card.extend([1])\n"
            "current.card.clear()\ncurrent.card.refresh({'a': 1}, force=True)\ncurrent.card['other'] = []\n"
            "print(list(current.card), len(current.card), bool(current.card), current.card.get())\n"
            "current.card.components['x'].update(3)\ncurrent.card.anything(1)"
        )
        self.assertEqual(task.stdout, "[] 0 True []\n", task.stderr)
        self.assertEqual(task.stderr, "mf: cards are not rendered yet; current.card does nothing\n")


if __name__ == "__main__":
    unittest.main()
