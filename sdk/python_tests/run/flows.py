"""Flows for the tests of steps, made of their bodies."""

from __future__ import annotations

from typing import Any

from .harness import FlowTest, Task, Worker

HEAD = """
from metaflow import FlowSpec, Parameter, current, step
"""
FOOT = """
if __name__ == "__main__":
    F()
"""


def foreach(target: str, var: str) -> dict[str, Any]:
    return {"kind": "foreach", "targets": [target], "foreach": var}


class StepTest(FlowTest):
    def flow(self, body: str, head: str = "", **options: Any) -> Worker:
        """Make a worker; `body` is the flow's class body, indented by four spaces."""
        return self.worker(HEAD + head + "class F(FlowSpec):\n" + body + FOOT, **options)

    def start(self, body: str, members: str = "", head: str = "", **fields: Any) -> Task:
        """Run a step `start` with this body; it goes to `end` unless `next` says otherwise."""
        lines = "\n".join("        " + line for line in body.splitlines())
        steps = f"{members}\n    @step\n    def start(self):\n{lines}\n"
        for name in ("a", "b", "end"):
            steps += f"    @step\n    def {name}(self):\n        pass\n"
        fields.setdefault("next", "end")
        return self.flow(steps, head).step("start", **fields)


PROCESS_FLOW = """
import atexit, os, random, signal, sys, threading, time
from metaflow import FlowSpec, current, step
{head}
class F(FlowSpec):
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


class ProcessTest(FlowTest):
    def flow(self, body: str, head: str = "", **options: Any) -> Worker:
        return self.worker(PROCESS_FLOW.format(head=head, body=body.replace("\n", "\n        ")), **options)

    def start(self, body: str, head: str = "", **fields: Any) -> Task:
        return self.flow(body, head).step("start", next="end", **fields)
