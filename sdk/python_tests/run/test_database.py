"""The client on mf's database: what it says of runs of mf, compared with what it says by Metaflow's files."""

from __future__ import annotations

import glob
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import threading
import unittest
from typing import Any
from unittest import mock

from metaflow._run.client import database
from metaflow._run.client.database import Database
from metaflow._run.client.layout import Layout
from metaflow.exception import MetaflowException

from .harness import SDK, FlowTest
from .test_client import DATA, DESCRIBE, run_client

REPOSITORY = os.path.dirname(os.path.dirname(SDK))
MIGRATIONS = sorted(glob.glob(os.path.join(REPOSITORY, "metadata", "sqlite", "migrations", "*.sql")))
TASK = ("F", "5", "start", "1")


def program(folder: str) -> str:
    """The program as it is now, built in a folder."""
    path = os.path.join(folder, "mf")
    subprocess.run(["go", "build", "-o", path, "./cmd/mf"], cwd=REPOSITORY, check=True)
    return path


def new_database(folder: str, version: int = len(MIGRATIONS)) -> str:
    """A database of two runs, by number and by name, each with a task of its kind."""
    path = os.path.join(folder, "metadata.db")
    db = sqlite3.connect(path)
    db.execute("PRAGMA journal_mode=WAL")
    for file in MIGRATIONS:
        with open(file, encoding="utf-8") as text:
            db.executescript(text.read())
    db.execute("CREATE TABLE mf_schema (id INTEGER PRIMARY KEY, version_id INTEGER, is_applied INTEGER, tstamp TEXT)")
    db.execute("INSERT INTO mf_schema VALUES (1, ?, 1, '')", [version])
    db.execute("INSERT INTO flows_v3 (flow_id, ts_epoch) VALUES ('F', 1)")
    for number, name, task, task_name in ((5, None, 1, None), (-1, "argo-f-x7", -1, "t-1")):
        run = [number, name]
        db.execute(
            "INSERT INTO runs_v3 (flow_id, run_number, run_id, user_name, ts_epoch, tags, system_tags)"
            " VALUES ('F', ?, ?, 'me', 10, '[\"a\"]', NULL)",
            run,
        )
        db.execute("INSERT INTO steps_v3 (flow_id, run_number, run_id, step_name, ts_epoch) VALUES ('F',?,?,'start',11)", run)
        db.execute(
            "INSERT INTO tasks_v3 (flow_id, run_number, run_id, step_name, task_id, task_name, ts_epoch)"
            " VALUES ('F', ?, ?, 'start', ?, ?, 12)",
            [*run, task, task_name],
        )
        for attempt in (0, 1):
            db.execute(
                "INSERT INTO metadata_v3 (flow_id, run_number, run_id, step_name, task_id, task_name, field_name, value,"
                " type, ts_epoch, tags) VALUES ('F', ?, ?, 'start', ?, ?, 'attempt-done', ?, 'attempt-done', 13, NULL)",
                [*run, task, task_name, str(attempt)],
            )
            db.execute(
                "INSERT INTO artifact_v3 (flow_id, run_number, run_id, step_name, task_id, task_name, name, location,"
                " ds_type, attempt_id, ts_epoch) VALUES ('F', ?, ?, 'start', ?, ?, 'x', ':root:/r', 'local', ?, 13)",
                [*run, task, task_name, attempt],
            )
    db.commit()
    db.close()
    return path


class MfRuns(unittest.TestCase):
    """A folder with runs of mf; runs in Metaflow's own datastore are in the database and in the files."""

    maxDiff = None

    @classmethod
    def setUpClass(cls) -> None:
        cls.folder = os.path.realpath(tempfile.mkdtemp(prefix="mf-database-"))
        cls.addClassCleanup(shutil.rmtree, cls.folder)
        for name in ("client_flow.py", "again_flow.py", "words.txt"):
            shutil.copy(os.path.join(DATA, name), cls.folder)
        cls.mf = program(cls.folder)
        cls.root = os.path.join(cls.folder, "store")
        cls.run_mf("run", "client_flow.py", "--tag", "blue", METAFLOW_DATASTORE_SYSROOT_LOCAL=cls.root)
        failed = {"METAFLOW_DATASTORE_SYSROOT_LOCAL": cls.root, "FAIL": "1"}
        assert "on request" in cls.run_mf("run", "again_flow.py", code=1, **failed)
        cls.run_mf("resume", "again_flow.py", METAFLOW_DATASTORE_SYSROOT_LOCAL=cls.root)
        cls.database = os.path.join(cls.root, ".mf", "metadata.db")
        cls.files = os.path.join(cls.folder, "files")
        shutil.copytree(os.path.join(cls.root, ".metaflow"), os.path.join(cls.files, ".metaflow"))

    @classmethod
    def run_mf(cls, *arguments: str, code: int = 0, **env: str) -> str:
        environment = {
            name: value for name, value in os.environ.items() if not name.startswith(("MF_", "METAFLOW_", "PYTHON"))
        }
        environment.update(MF_PYTHON=sys.executable, METAFLOW_USER="tester", **env)
        command = [cls.mf, *arguments]
        done = subprocess.run(command, cwd=cls.folder, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == code, done.stderr
        return done.stderr

    def walk(self, layout: Layout, parts: tuple[str, ...] = ()) -> dict[str, Any]:
        """All that a reader says."""
        said: dict[str, Any] = {"self": layout.read(parts) if parts else None}
        if len(parts) == 4:
            said.update(metadata=layout.metadata(parts), attempt=layout.attempt(parts))
            said.update(artifacts=layout.artifacts(parts), first=layout.artifacts(parts, 0))
            return said
        below = layout.children(parts)
        said["children"] = below
        said.update((name, self.walk(layout, (*parts, name))) for name, _ in below)
        return said


class RunsOfMfTest(MfRuns):
    def test_the_readers_agree_on_every_row(self) -> None:
        expected = self.walk(Layout(os.path.join(self.files, ".metaflow")))
        self.assertEqual(sorted(expected)[:2], ["AgainFlow", "ClientFlow"])
        self.assertEqual(self.walk(Database("/nothing", self.database)), expected)
        self.assertEqual(self.walk(Database(os.path.join(self.root, ".metaflow"), self.database)), expected)

    def test_the_client_says_the_same(self) -> None:
        for flow in ("ClientFlow", "AgainFlow"):
            describe = DESCRIBE.replace("ClientFlow", flow)
            expected = run_client(self, describe, METAFLOW_DATASTORE_SYSROOT_LOCAL=self.files)
            found = run_client(self, describe, cwd="/", MF_METADATA_DB=self.database)
            self.assertEqual(found, expected)
            self.assertIn('"successful": "True"', found)

    def test_runs_of_either(self) -> None:
        """Without its folder in the database's store a run is still there; one of the files alone is as well."""
        both = os.path.join(self.folder, "both")
        shutil.copytree(self.files, both)
        os.makedirs(os.path.join(both, ".mf"))
        path = new_database(os.path.join(both, ".mf"))
        connection = sqlite3.connect(path)
        [latest] = glob.glob(os.path.join(both, ".metaflow", "ClientFlow", "[0-9]*"))
        number = os.path.basename(latest)
        connection.execute("INSERT INTO flows_v3 (flow_id, ts_epoch) VALUES ('ClientFlow', 7)")
        connection.execute(
            "INSERT INTO runs_v3 (flow_id, run_number, ts_epoch, tags) VALUES ('ClientFlow', 9, 9, '[]'),"
            " ('ClientFlow', ?, 8, '[\"of the database\"]')",
            [number],
        )
        connection.commit()
        connection.close()
        layout = Database(os.path.join(both, ".metaflow"), path)
        self.assertEqual([name for name, _ in layout.children(())], ["AgainFlow", "ClientFlow", "F"])
        self.assertEqual(layout.read(("ClientFlow",)), {"flow_id": "ClientFlow", "ts_epoch": 7})
        runs = layout.children(("ClientFlow",))
        self.assertEqual([(name, run["tags"]) for name, run in runs], [("9", []), (number, ["of the database"])])
        self.assertEqual(layout.children(("ClientFlow", number)), [])
        self.assertEqual(len(layout.children(("AgainFlow",))), 2)
        run, _ = layout.children(("AgainFlow",))[0]
        self.assertEqual(self.walk(layout, ("AgainFlow", run)), self.walk(Layout(layout.root), ("AgainFlow", run)))

    def test_the_database_alone(self) -> None:
        """A run outside of Metaflow's datastore has no files; its tasks find it, and so do programs beside it."""
        self.run_mf("run", "client_flow.py")
        self.run_mf("run", "again_flow.py", code=1, FAIL="1")
        self.run_mf("resume", "again_flow.py")
        home = os.path.join(self.folder, ".mf")
        self.assertEqual(glob.glob(os.path.join(home, ".metaflow", "*", "*", "_meta")), [])
        below = os.path.join(self.folder, "a", "b")
        os.makedirs(os.path.join(below, ".metaflow"))
        source = """
            from metaflow import Flow, get_metadata, metadata
            run = Flow("AgainFlow").latest_successful_run
            print(get_metadata(), len(list(Flow("AgainFlow"))), run.data.seen, metadata(get_metadata()) == get_metadata())
            print(run["join"].task.finished, [found.size for found in run["body"].task], run["body"].task.origin_pathspec)
            print(run["end"].task.stdout.strip(), Flow("ClientFlow").latest_run.data.words.split())
        """
        seen = "[(0, 0, True), (1, 1, True), (2, 2, True)]"
        ways = (
            {"cwd": below},
            {"cwd": "/", "METAFLOW_DATASTORE_SYSROOT_LOCAL": home},
            {"cwd": "/", "MF_METADATA_DB": os.path.join(home, "metadata.db")},
        )
        for way in ways:
            with self.subTest(way):
                lines = run_client(self, source, **way).splitlines()
                self.assertEqual(lines[0], f"local@{home} 2 {seen} True")
                self.assertRegex(lines[1], r"^True \[22, 24, 5\] AgainFlow/\d+/body/\d$")
                self.assertEqual(lines[2], f"{seen} ['one', 'two', 'thr\u00e9e']")
        inside = run_client(self, "from metaflow import *; print(metadata('.'))", cwd=self.folder)
        self.assertEqual(inside, f"local@{home}")


class RowsTest(unittest.TestCase):
    def setUp(self) -> None:
        self.folder = tempfile.mkdtemp(prefix="mf-database-")
        self.addCleanup(shutil.rmtree, self.folder)
        self.path = os.path.join(self.folder, "metadata.db")

    def reader(self) -> Database:
        return Database(os.path.join(self.folder, ".metaflow"), self.path)

    def failure(self) -> str:
        with self.assertRaises(MetaflowException) as caught:
            self.reader().read(TASK)
        return str(caught.exception).replace(self.folder, "D")

    def test_ids(self) -> None:
        new_database(self.folder)
        reader = self.reader()
        self.assertEqual([name for name, _ in reader.children(("F",))], ["argo-f-x7", "5"])
        self.assertEqual([name for name, _ in reader.children(("F", "argo-f-x7", "start"))], ["t-1"])
        self.assertEqual(reader.read(("F", "argo-f-x7", "start", "t-1"))["task_id"], "t-1")
        for absent in ("-1", "05", "٥", "5 ", "9" * 19, "argo"):
            self.assertIsNone(reader.read(("F", absent)), absent)
            self.assertIsNone(reader.read(("F", "5", "start", absent)), absent)
            self.assertEqual(reader.metadata(("F", "5", "start", absent)), [])
            self.assertEqual(reader.artifacts(("F", "5", "start", absent)), {})
            self.assertIsNone(reader.attempt(("F", "5", "start", absent)))
            self.assertEqual(reader.children(("F", absent, "start")), [])

    def test_of_one_moment_the_row_recorded_last_counts(self) -> None:
        new_database(self.folder)
        for task in (TASK, ("F", "argo-f-x7", "start", "t-1")):
            self.assertEqual([row["value"] for row in self.reader().metadata(task)], ["1", "0"])
            self.assertEqual(self.reader().attempt(task), 1)
            self.assertEqual(self.reader().artifacts(task)["x"]["attempt_id"], 1)
            self.assertEqual(self.reader().artifacts(task, 0)["x"]["attempt_id"], 0)
            self.assertEqual(self.reader().artifacts(task, 2), {})
            self.assertEqual(self.reader().artifacts(task)["x"]["tags"], ["a"])

    def test_the_newest_schema_is_known(self) -> None:
        self.assertEqual(database.SCHEMA, len(MIGRATIONS))

    def test_what_cannot_be_read(self) -> None:
        self.assertEqual(self.failure(), "D/metadata.db cannot be read: unable to open database file")
        new_database(self.folder, version=database.SCHEMA + 1)
        known = database.SCHEMA
        self.assertEqual(
            self.failure(),
            f"D/metadata.db was made by a newer version of mf: its schema has version {known + 1}, "
            f"this one knows up to {known}; update mf",
        )
        os.unlink(self.path)
        connection = sqlite3.connect(self.path)
        self.assertIsNone(self.reader().read(TASK))  # one that is being made
        connection.execute("CREATE TABLE other (x)")
        connection.close()
        wrong = "D/metadata.db is damaged, or no database of mf: "
        self.assertEqual(self.failure(), wrong + "it has tables, but no mf_schema")
        with open(self.path, "w", encoding="utf-8") as file:
            file.write("text " * 1000)
        self.assertEqual(self.failure(), wrong + "file is not a database")
        os.unlink(self.path)
        connection = sqlite3.connect(new_database(self.folder))
        connection.execute("UPDATE runs_v3 SET tags = '[x'")
        connection.commit()
        connection.close()
        self.assertIn(wrong + "Expecting value", self.failure())

    def test_a_python_without_sqlite3(self) -> None:
        new_database(self.folder)
        with mock.patch.dict(sys.modules, {"sqlite3": None}):
            self.assertRegex(self.failure(), "this Python has no sqlite3 .*; MF_PYTHON chooses another one")

    def test_while_others_write(self) -> None:
        connection = sqlite3.connect(new_database(self.folder), isolation_level=None)
        self.addCleanup(connection.close)
        for count in range(3):
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("UPDATE runs_v3 SET tags = ?", [f'["{count}"]'])
            before = self.reader().read(TASK[:2])
            connection.execute("COMMIT")
            self.assertEqual(before["tags"], ["a" if count == 0 else str(count - 1)])
            self.assertEqual(self.reader().read(TASK[:2])["tags"], [str(count)])

    def test_locked(self) -> None:
        connection = sqlite3.connect(new_database(self.folder), isolation_level=None)
        self.addCleanup(connection.close)
        connection.execute("PRAGMA locking_mode=EXCLUSIVE")
        connection.execute("UPDATE runs_v3 SET tags = NULL")
        with mock.patch.object(database, "_BUSY", 0.01):
            self.assertEqual(self.failure(), "D/metadata.db cannot be read: database is locked")

    def test_a_folder_that_cannot_be_written(self) -> None:
        """Even a reader of a database that nobody has open makes a file beside it; a link to nowhere prevents that."""
        path = new_database(self.folder)
        os.symlink("/nowhere/file", path + "-shm")
        self.assertEqual(self.reader().read(TASK)["task_id"], "1")
        with mock.patch.object(Database, "_rests", return_value=False):
            self.assertEqual(self.failure(), "D/metadata.db cannot be read: unable to open database file")
        os.unlink(path + "-shm")
        connection = sqlite3.connect(path, isolation_level=None)
        connection.execute("UPDATE runs_v3 SET tags = NULL")
        shutil.copy(path + "-wal", self.folder + "/wal")  # what a crash leaves
        connection.close()
        os.rename(self.folder + "/wal", path + "-wal")
        os.symlink("/nowhere/file", path + "-shm")
        self.assertEqual(self.failure(), "D/metadata.db cannot be read: unable to open database file")

    def test_forked_processes_and_threads(self) -> None:
        new_database(self.folder)
        reader = self.reader()
        self.assertEqual(reader.read(TASK)["task_id"], "1")
        pid = os.fork()
        if pid == 0:
            os._exit(0 if reader.read(TASK) else 1)
        self.assertEqual(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), 0)

    def test_a_name_for_no_database(self) -> None:
        out = run_client(
            self,
            """
            from metaflow import Flow
            from metaflow.exception import MetaflowException
            try:
                Flow("F")
            except MetaflowException as error:
                print(error)
            """,
            MF_METADATA_DB=self.path,
        )
        self.assertEqual(out, f"MF_METADATA_DB names a database that does not exist: {self.path}")


class InAStepTest(FlowTest):
    SOURCE = """
        import os, sys, threading, time
        from metaflow import FlowSpec, current, step
        class F(FlowSpec):
            @step
            def start(self):
                self.imported = [name for name in sys.modules if "sqlite" in name or "_run.client" in name]
                began = time.monotonic()
                self.tags = sorted(current.run.tags)
                self.waited = time.monotonic() - began
                self.next(self.end)
            @step
            def end(self):
                pass
        if __name__ == "__main__":
            F()
        """

    def test_waits_for_its_own_record(self) -> None:
        worker = self.worker(self.SOURCE)
        path = new_database(worker.folder)
        worker.init()
        place = {"run": "5", "task": "1", "env": {"MF_METADATA_DB": path}}

        def record() -> None:
            connection = sqlite3.connect(path)
            connection.execute("UPDATE runs_v3 SET tags = '[\"late\"]', system_tags = '[\"user:tester\"]'")
            connection.execute(
                "INSERT INTO metadata_v3 (flow_id, run_number, step_name, task_id, field_name, value, type, ts_epoch)"
                " VALUES ('F', 5, 'start', 1, 'attempt', '0', 'attempt', 1)"
            )
            connection.commit()
            connection.close()

        timer = threading.Timer(0.5, record)
        timer.start()
        start = worker.step("start", next="end", **place)
        timer.join()
        self.assertTrue(start.ok, start.stderr)
        self.assertEqual((start["imported"], start["tags"]), ([], ["late", "user:tester"]))
        self.assertGreater(start["waited"], 0.1)
        again = worker.step("start", next="end", **place)
        self.assertLess(again["waited"], 0.4)


if __name__ == "__main__":
    unittest.main()
