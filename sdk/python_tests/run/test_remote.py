"""The client where it asks mf: the same runs, and a service over them, must read as they do without."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
import unittest
import urllib.request
from typing import Any
from unittest import mock

from metaflow._run.client.database import Database
from metaflow._run.client.reader import Reader
from metaflow._run.client.remote import Remote
from metaflow.exception import MetaflowException, MetaflowNotFound

from .harness import FlowTest
from .test_client import DESCRIBE, run_client
from .test_database import MfRuns

#: A reader that answers with the question, cut to a size; "die" ends it, "wait" keeps it busy.
ECHO = """
import json, os, sys, tempfile, time
from_client, to_client = os.fdopen(0, "rb"), os.fdopen(1, "wb")
count = 0
while True:
    length = from_client.read(4)
    if not length:
        break
    question = json.loads(from_client.read(int.from_bytes(length, "big")))
    count += 1
    if question["op"] == "die":
        sys.exit(7)
    if question["op"] == "wait":
        time.sleep(question["seconds"])
    answer = json.dumps({"pid": os.getpid(), "count": count, **question}).encode()
    header = {"size": len(answer)}
    if question["op"] == "refuse":
        header, answer = {"error": "no", "missing": question["missing"]}, b""
    if question["op"] == "large":
        with tempfile.NamedTemporaryFile(delete=False, dir=question["folder"]) as file:
            file.write(answer)
        header, answer = {"path": file.name, "size": len(answer)}, b""
    header = json.dumps(header).encode()
    to_client.write(len(header).to_bytes(4, "big") + header + answer)
    to_client.flush()
"""


class ReaderTest(unittest.TestCase):
    def setUp(self) -> None:
        self.reader = Reader([sys.executable, "-c", ECHO])
        self.addCleanup(self.reader._stop)

    def test_answers(self) -> None:
        first = self.reader.ask("some", text="\u00e9\n")
        self.assertEqual((first["op"], first["text"], first["count"]), ("some", "\u00e9\n", 1))
        self.assertEqual(self.reader.ask("more")["count"], 2)
        self.assertEqual(len(self.reader.ask("long", text="x" * 300000)["text"]), 300000)
        with tempfile.TemporaryDirectory() as folder:
            self.assertEqual(self.reader.ask("large", folder=folder)["count"], 4)
            self.assertEqual(os.listdir(folder), [])
        with self.assertRaisesRegex(MetaflowException, "^no$"):
            self.reader.ask("refuse", missing=False)
        with self.assertRaisesRegex(MetaflowNotFound, "^no$"):
            self.reader.ask("refuse", missing=True)

    def test_one_that_ends_is_started_again(self) -> None:
        before = self.reader.ask("some")["pid"]
        self.reader._process.kill()
        self.assertNotEqual(self.reader.ask("some")["pid"], before)
        with self.assertRaisesRegex(MetaflowException, r"ended \(exit code 7\)"):
            self.reader.ask("die")
        self.assertEqual(self.reader.ask("some")["count"], 1)
        absent = Reader(["/no/such/mf"])
        with self.assertRaisesRegex(MetaflowException, "/no/such/mf cannot be started"):
            absent.ask("some")

    def test_no_answer_goes_to_another_question(self) -> None:
        """A signal's exception, such as @timeout's, may come while an answer is awaited."""
        import signal

        def stop(*_: Any) -> None:
            raise ValueError("stop")

        previous = signal.signal(signal.SIGALRM, stop)
        self.addCleanup(signal.signal, signal.SIGALRM, previous)
        signal.setitimer(signal.ITIMER_REAL, 0.2)
        with self.assertRaisesRegex(ValueError, "stop"):
            self.reader.ask("wait", seconds=1)
        self.assertEqual(self.reader.ask("some")["op"], "some")

    def test_threads(self) -> None:
        found: list[Any] = []
        threads = [
            threading.Thread(target=lambda n=n: found.extend((n, self.reader.ask("some", n=n)["n"]) for _ in range(20)))
            for n in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual([a for a, _ in found], [b for _, b in found])
        self.assertEqual(self.reader.ask("some")["count"], 161)

    def test_a_forked_process_has_a_reader_of_its_own(self) -> None:
        ours = self.reader.ask("some")["pid"]
        busy = threading.Thread(target=self.reader.ask, args=["wait"], kwargs={"seconds": 1})
        busy.start()
        time.sleep(0.2)
        read, write = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                os.write(write, json.dumps(self.reader.ask("some")).encode())
            finally:
                os._exit(0)
        os.close(write)
        with os.fdopen(read, "rb") as pipe:
            theirs = json.load(pipe)
        os.waitpid(child, 0)
        busy.join()
        self.assertNotEqual(theirs["pid"], ours)
        self.assertEqual(theirs["count"], 1)
        again = self.reader.ask("some")
        self.assertEqual((again["pid"], again["count"]), (ours, 3))
        for _ in range(100):  # the child's ends with the child
            try:
                os.kill(theirs["pid"], 0)
            except ProcessLookupError:
                return
            if _state(theirs["pid"]) == "Z":
                return
            time.sleep(0.05)
        self.fail("the reader of an ended process is still there")


def _state(pid: int) -> str:
    with open(f"/proc/{pid}/stat", encoding="utf-8") as file:
        return file.read().rpartition(")")[2].split()[0]


class QuestionsTest(unittest.TestCase):
    """What is asked, of a team with many runs."""

    def setUp(self) -> None:
        self.remote = Remote('{"command": ["mf"], "datastore": "s3://b/p", "service": "http://s"}')
        self.asked: list[dict[str, Any]] = []
        self.remote._reader.ask = self.answer  # type: ignore[method-assign]
        self.count = 300

    def answer(self, op: str, **question: Any) -> Any:
        self.asked.append({"op": op, **question})
        if op == "runs":
            return [[str(n), {"ts_epoch": n}] for n in range(self.count, 0, -1)][: question["limit"] or None]
        return {"x": {}} if self.count else {}

    def limits(self) -> list[int]:
        return [question["limit"] for question in self.asked]

    def test_few_runs_are_asked_for_where_few_are_wanted(self) -> None:
        self.assertEqual(next(iter(self.remote.runs("F", ("blue",))))[0], "300")
        self.assertEqual(self.asked, [{"op": "runs", "path": ["F"], "tags": ("blue",), "limit": 16}])
        found = [name for name, _ in self.remote.runs("F")]
        self.assertEqual(found, [str(n) for n in range(300, 0, -1)])
        self.assertEqual(self.limits(), [16, 16, 256, 0])

    def test_runs_that_begin_meanwhile_hide_none(self) -> None:
        found = []
        for name, _ in self.remote.runs("F"):
            found.append(name)
            self.count += name == "290"
        self.assertEqual(sorted(found, key=int), [str(n) for n in range(1, 302)])

    def test_all_of_few(self) -> None:
        self.count = 5
        self.assertEqual(len(list(self.remote.runs("F"))), 5)
        self.count = 16
        self.assertEqual(len(list(self.remote.runs("F"))), 16)
        self.assertEqual(self.limits(), [16, 16, 256])

    def test_a_question_is_asked_once_in_a_burst(self) -> None:
        task = ("F", "1", "start", "1")
        for _ in range(3):
            self.remote.artifacts(task)
        self.remote.artifacts(task, 0)
        self.assertEqual(len(self.asked), 2)
        self.count = 0
        for _ in range(3):  # while there are none, one may come at any moment
            self.assertEqual(self.remote.artifacts(task, 1), {})
        self.assertEqual(len(self.asked), 5)
        with mock.patch("metaflow._run.client.remote.time.monotonic", return_value=time.monotonic() + 2):
            self.remote.artifacts(task)
        self.assertEqual(len(self.asked), 6)


class RemoteTest(MfRuns):
    """Runs in a database and on disk, read by mf, and through a service over that database."""

    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        with socket.socket() as sock:
            sock.bind(("127.0.0.1", 0))
            address = f"127.0.0.1:{sock.getsockname()[1]}"
        cls.service = "http://" + address
        log = open(os.path.join(cls.folder, "service.log"), "wb")  # noqa: SIM115
        cls.addClassCleanup(log.close)
        command = [cls.mf, "service", "--db", cls.database, "--listen", address]
        process = subprocess.Popen(command, stdout=log, stderr=log)
        cls.addClassCleanup(process.wait)
        cls.addClassCleanup(process.terminate)
        deadline = time.monotonic() + 30
        while True:
            try:
                with urllib.request.urlopen(cls.service + "/ping", timeout=5):
                    break
            except OSError:
                assert time.monotonic() < deadline and process.poll() is None, "the service does not start"
                time.sleep(0.05)

    def place(self, **more: str) -> str:
        datastore = os.path.join(self.root, ".metaflow")
        return json.dumps({"command": [self.mf, "__read"], "datastore": datastore, "patience": "1s", **more})

    def places(self) -> dict[str, str]:
        return {"database": self.place(database=self.database), "service": self.place(service=self.service)}

    def test_the_readers_agree_on_every_row(self) -> None:
        expected = self.walk(Database("/nothing", self.database))
        for name, place in self.places().items():
            with self.subTest(name), mock.patch.dict(os.environ, {"MF_READER": place}):
                remote = Remote(place)
                self.addCleanup(remote._reader._stop)
                self.assertEqual(self.walk(remote), expected)

    def test_the_client_says_the_same(self) -> None:
        for flow in ("ClientFlow", "AgainFlow"):
            describe = DESCRIBE.replace("ClientFlow", flow)
            expected = run_client(self, describe, cwd="/", MF_METADATA_DB=self.database)
            for name, place in self.places().items():
                with self.subTest(flow + " by " + name):
                    self.assertEqual(run_client(self, describe, cwd="/", MF_READER=place), expected)

    def test_choosing_the_metadata(self) -> None:
        source = f"""
            from metaflow import Flow, Run, Task, get_metadata, metadata, namespace
            from metaflow.exception import MetaflowException
            own = get_metadata()
            print(own, metadata(own) == own, Flow("ClientFlow").id)
            try:
                metadata("service@http://elsewhere")
            except MetaflowException as error:
                print(error)
            print(metadata("local@{self.files}"), Flow("ClientFlow").latest_run.successful)
            metadata(own)
            def attempt(function):
                try:
                    print(function())
                except (MetaflowException, KeyError) as error:
                    print(type(error).__name__, error)
            attempt(lambda: Flow("Nothing"))
            attempt(lambda: Run("ClientFlow/05"))
            attempt(lambda: Task("ClientFlow/1/../2"))
            attempt(lambda: Flow("ClientFlow").latest_run["nothing"])
            attempt(lambda: Flow("ClientFlow").latest_run["end"]["77"])
            print([len(list(Flow("AgainFlow").runs(*tags))) for tags in ([], ["blue"], ["user:tester"])])
            print([len(list(Flow("ClientFlow").runs(*tags))) for tags in ([], ["blue"], ["blue", "user:tester"])])
            namespace("user:other")
            attempt(lambda: Flow("ClientFlow"))
            """
        for name, place in self.places().items():
            own = "service@" + self.service if name == "service" else "local@" + os.path.dirname(self.database)
            with self.subTest(name):
                self.assertEqual(
                    run_client(self, source, cwd="/", MF_READER=place).splitlines(),
                    [
                        f"{own} True ClientFlow",
                        f"inside a flow, mf reads {own} and local metadata (local@DIR), not 'service@http://elsewhere'",
                        f"local@{self.files} True",
                        "MetaflowNotFound Flow('Nothing') does not exist",
                        "MetaflowNotFound Run('ClientFlow/05') does not exist",
                        "MetaflowNotFound Task('ClientFlow/1/../2') does not exist",
                        "KeyError 'nothing'",
                        "KeyError '77'",
                        "[2, 0, 2]",
                        "[1, 1, 1]",
                        "MetaflowNamespaceMismatch Object not in namespace 'user:other'",
                    ],
                )

    def test_what_cannot_be_read(self) -> None:
        source = """
            from metaflow import Flow
            from metaflow.exception import MetaflowException
            try:
                Flow("F")
            except MetaflowException as error:
                print(error)
            """
        for place, said in {
            self.place(): "runs cannot be read: no metadata service is known; MF_SERVICE_URL names it",
            self.place(service="ftp://x"): "runs cannot be read: opening the metadata service: .*",
            "{": "MF_READER is not what mf made it",
            '{"command": ["/no/mf"], "datastore": "/x"}': "runs cannot be read: /no/mf cannot be started: .*No such file.*",
        }.items():
            self.assertRegex(run_client(self, source, MF_READER=place), f"^{said}$")


class InAStepTest(FlowTest):
    def test_nothing_is_imported_and_nothing_started_unless_it_is_used(self) -> None:
        worker = self.worker(
            """
            import sys
            from metaflow import FlowSpec, step
            class F(FlowSpec):
                @step
                def start(self):
                    self.imported = [name for name in sys.modules if "subprocess" in name or "_run.client" in name]
                    self.next(self.end)
                @step
                def end(self):
                    pass
            if __name__ == "__main__":
                F()
            """
        )
        worker.init()
        start = worker.step("start", next="end", env={"MF_READER": '{"command": ["/no/mf"], "datastore": "/x"}'})
        self.assertTrue(start.ok, start.stderr)
        self.assertEqual(start["imported"], [])


if __name__ == "__main__":
    unittest.main()
