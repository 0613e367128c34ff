"""The client against a run that real Metaflow made, and what Metaflow's own client says about it (testdata/make.py)."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import textwrap
import unittest
from typing import Any

from .harness import SDK, FlowTest

HERE = os.path.dirname(os.path.abspath(__file__))
DATA = os.path.join(HERE, "testdata")

DESCRIBE = """
    import json
    from metaflow import Flow, Metaflow
    latest = Flow("ClientFlow").latest_run
    facts = {"flows": [flow.id for flow in Metaflow()], "tasks": {}, "steps": [found.id for found in latest]}
    names = ("id", "pathspec", "successful", "finished", "finished_at", "created_at", "path_components")
    facts["run"] = {name: repr(getattr(latest, name)) for name in names}
    facts["run"]["tags"] = [sorted(latest.user_tags), sorted(latest.system_tags)]
    facts["run"]["end_task"] = latest.end_task.pathspec
    names = ("successful", "finished", "finished_at", "index")
    for found in [*latest, latest["_parameters"]]:
        for task in found:
            facts["tasks"][task.pathspec] = {
                **{name: repr(getattr(task, name)) for name in names},
                **{name: getattr(task, name).strip() for name in ("stdout", "stderr")},
                "runtime_name": task.runtime_name,
                "current_attempt": task.current_attempt,
                "origin_pathspec": task.origin_pathspec,
                "failed": None if task.exception is None else [task.exception.type, task.exception.exception],
                "metadata": sorted((m.name, m.type, str(m.value), m.created_at) for m in task.metadata),
                "artifacts": {a.id: [a.sha, a.size, repr(a.finished_at)] for a in task},
                "data": {a.id: repr(a.data) for a in task if a.id != "failure"},
            }
    print(json.dumps(facts))
"""


def run_client(test: unittest.TestCase, source: str, cwd: str | None = None, **env: str) -> str:
    """What a program prints that uses the client outside of a step."""
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": SDK, "TZ": "UTC", "METAFLOW_USER": "tester", **env}
    command = [sys.executable, "-c", textwrap.dedent(source)]
    done = subprocess.run(command, env=environment, cwd=cwd, capture_output=True, text=True, check=False)
    test.assertEqual((done.returncode, done.stderr), (0, ""))
    return done.stdout.strip()


class ClientTest(unittest.TestCase):
    maxDiff = None

    @classmethod
    def setUpClass(cls) -> None:
        cls.root = tempfile.mkdtemp(prefix="mf-client-")
        with tarfile.open(os.path.join(DATA, "client_run.tar.gz")) as archive:
            archive.extractall(cls.root)  # noqa: S202 (our own file)

    @classmethod
    def tearDownClass(cls) -> None:
        shutil.rmtree(cls.root)

    def run_python(self, source: str, cwd: str | None = None, **env: str) -> str:
        if cwd is None:
            env["METAFLOW_DATASTORE_SYSROOT_LOCAL"] = self.root
        return run_client(self, source, cwd, **env)

    def test_says_what_metaflows_client_says(self) -> None:
        with open(os.path.join(DATA, "client_run.json"), encoding="utf-8") as file:
            expected: dict[str, Any] = json.load(file)
        found = json.loads(self.run_python(DESCRIBE))
        self.assertEqual(found, expected)

    def test_finds_the_datastore_above_the_working_directory(self) -> None:
        below = os.path.join(self.root, "a", "b")
        os.makedirs(below, exist_ok=True)
        out = self.run_python("from metaflow import get_metadata; print(get_metadata())", cwd=below)
        self.assertEqual(out, "local@" + os.path.realpath(self.root))
        beside = os.path.join(self.root, "c")
        os.makedirs(os.path.join(beside, ".mf", ".metaflow"), exist_ok=True)
        out = self.run_python("from metaflow import get_metadata; print(get_metadata())", cwd=beside)
        self.assertEqual(out, "local@" + os.path.realpath(os.path.join(beside, ".mf")))

    def test_choosing_the_metadata(self) -> None:
        out = self.run_python(
            f"""
            from metaflow import metadata, Flow
            from metaflow.exception import MetaflowException
            print(metadata("local@{self.root}") == metadata("{self.root}"), Flow("ClientFlow").id)
            for wrong in ("service@http://x", "http://x", "{self.root}/nothing"):
                try:
                    metadata(wrong)
                except MetaflowException as error:
                    print(error)
            """,
            cwd="/",
        )
        self.assertEqual(
            out.splitlines(),
            [
                "True ClientFlow",
                "inside a flow, mf reads local metadata only (local@DIR), not 'service@http://x'",
                "inside a flow, mf reads local metadata only (local@DIR), not 'http://x'",
                f"there is no local metadata in '{self.root}/nothing': it has no folder .metaflow",
            ],
        )

    def test_namespaces(self) -> None:
        out = self.run_python(
            """
            from metaflow import Flow, Metaflow, Run, default_namespace, get_namespace, namespace
            from metaflow.exception import MetaflowNamespaceMismatch
            print(get_namespace(), len(list(Flow("ClientFlow"))))
            pathspec = Flow("ClientFlow").latest_run.pathspec
            namespace("user:other")
            print(get_namespace(), Metaflow().flows)
            try:
                Run(pathspec)
            except MetaflowNamespaceMismatch as error:
                print(error)
            for chosen in (None, "blue"):
                namespace(chosen)
                print(Flow("ClientFlow").latest_successful_run.pathspec == pathspec)
            print(default_namespace())
            """
        )
        self.assertEqual(
            out.splitlines(),
            ["user:tester 1", "user:other []", "Object not in namespace 'user:other'", "True", "True", "user:tester"],
        )

    def test_what_does_not_exist(self) -> None:
        out = self.run_python(
            """
            from metaflow import Flow, Run, Step, Task
            from metaflow.exception import MetaflowException
            run = Flow("ClientFlow").latest_run
            number = run.id
            def attempt(function):
                try:
                    print(function())
                except (MetaflowException, KeyError, AttributeError) as error:
                    print(type(error).__name__, str(error).replace(number, "N"))
            attempt(lambda: Flow("Nothing"))
            attempt(lambda: Run("ClientFlow"))
            attempt(lambda: Task("ClientFlow/1/2/"))
            attempt(lambda: run["nothing"])
            attempt(lambda: run.data.nothing)
            attempt(lambda: run.add_tag("x"))
            attempt(lambda: "nothing" in run)
            attempt(lambda: Step("ClientFlow/%s/body" % number).task.index)
            attempt(lambda: [found.data for found in run["body"].tasks("blue")][0])
            attempt(lambda: run["start"].task.artifacts.items.data)
            attempt(lambda: "items" in run["start"].task.data)
            """
        )
        self.assertEqual(
            out.splitlines(),
            [
                "MetaflowNotFound Flow('Nothing') does not exist",
                "MetaflowInvalidPathspec Run takes a pathspec Flow/run, not 'ClientFlow'",
                "MetaflowInvalidPathspec Task takes a pathspec Flow/run/step/task, not 'ClientFlow/1/2/'",
                "KeyError 'nothing'",
                "AttributeError the task has no artifact 'nothing'; "
                "it has: alpha, items, limit, name, results, table, words",
                "MetaflowException inside a flow the client is read-only; "
                "change tags with mf tag add and mf tag remove",
                "False",
                "1",
                "<MetaflowData: alpha, failure, items, limit, name, result, table, words>",
                "['a', 'b']",
                "True",
            ],
        )


class ClientInAStepTest(FlowTest):
    def test_the_running_task_and_earlier_runs(self) -> None:
        worker = self.worker(
            """
            from metaflow import FlowSpec, Flow, current, get_namespace, step
            class F(FlowSpec):
                @step
                def start(self):
                    run = Flow("ClientFlow").latest_successful_run
                    self.results = run.data.results
                    self.next(self.end)
                @step
                def end(self):
                    print(get_namespace())
            if __name__ == "__main__":
                F()
            """
        )
        with tarfile.open(os.path.join(DATA, "client_run.tar.gz")) as archive:
            archive.extractall(worker.folder)  # noqa: S202 (our own file)
        start = worker.step("start", next="end")
        self.assertEqual(start["results"], ["aaa"])
        end = worker.step("end", start, namespace="user:somebody")
        self.assertEqual(end.stdout, "user:somebody\n")


if __name__ == "__main__":
    unittest.main()
