"""mf's own record of runs, the SQLite database `metadata.db`, read only.

A connection lasts as long as one question: tasks are forked from one process, and flows fork and start threads of their
own, across which a connection must not be carried.
"""

from __future__ import annotations

import json
import os
import re
import time

from metaflow.exception import MetaflowException

from .layout import Layout, newest_first

TYPE_CHECKING = False
if TYPE_CHECKING:
    import sqlite3
    from typing import Any, Callable

#: The newest schema that is known here: the number of migrations in metadata/sqlite.
SCHEMA = 2
#: Seconds that SQLite waits for a lock. Readers meet one only while another process opens or closes the database.
_BUSY = 2.0
#: How often a question is asked again that met a lock for which SQLite does not wait.
_RETRIES = 4
_NUMBER = re.compile(r"(?:0|[1-9][0-9]{0,18})\Z")
_LARGEST = (1 << 63) - 1

_FLOWS = "SELECT flow_id, ts_epoch FROM flows_v3"
_RUNS = """SELECT run_number AS key, coalesce(run_id, run_number) AS run_number, flow_id,
    coalesce(user_name, '') AS user_name, tags, system_tags, ts_epoch FROM runs_v3 WHERE flow_id = ?"""
_STEPS = """SELECT step_name, coalesce(user_name, '') AS user_name, ts_epoch FROM steps_v3
    WHERE flow_id = ? AND run_number = ?"""
_TASKS = """SELECT task_id AS key, coalesce(task_name, task_id) AS task_id, step_name,
    coalesce(user_name, '') AS user_name, ts_epoch FROM tasks_v3
    WHERE flow_id = ? AND run_number = ? AND step_name = ?"""
_OF_TASK = "WHERE flow_id = ? AND run_number = ? AND step_name = ? AND task_id = ?"
_METADATA = f"""SELECT field_name, value, type, tags, coalesce(user_name, '') AS user_name, ts_epoch FROM metadata_v3
    {_OF_TASK} ORDER BY ts_epoch DESC, id DESC"""
_ATTEMPT = f"""SELECT value FROM metadata_v3 {_OF_TASK} AND field_name = 'attempt-done'
    ORDER BY ts_epoch DESC, id DESC LIMIT 1"""
_ARTIFACTS = f"""SELECT attempt_id, name, coalesce(content_type, '') AS content_type, coalesce(type, '') AS type,
    coalesce(sha, '') AS sha, ds_type, location, coalesce(user_name, '') AS user_name, ts_epoch FROM artifact_v3
    {_OF_TASK} AND attempt_id = ? ORDER BY name"""


class Database(Layout):
    """The runs of the database, and those that only the `.metaflow` folder knows.

    A run that the database has is read from there, whatever the folder says about it; any other is read from the
    folder. Values, sizes and logs are in the datastore in both cases.
    """

    def __init__(self, root: str, path: str) -> None:
        super().__init__(root)
        self.database: str = path
        #: Whether the tables are known to be there, and of a version that is known here.
        self._checked = False

    def read(self, parts: tuple[str, ...]) -> dict[str, Any] | None:
        """Return the object at Flow[/run[/step[/task]]]; None when there is none."""

        def question(tables: _Tables) -> tuple[bool, dict[str, Any] | None]:
            if len(parts) == 1:
                flow = tables.first(f"{_FLOWS} WHERE flow_id = ?", *parts)
                return flow is not None, flow
            run = tables.run(parts)
            return run is not None, None if run is None else tables.read(run, parts)

        here, found = self._ask(question)
        return found if here else super().read(parts)

    def children(self, parts: tuple[str, ...], known: frozenset[str] = frozenset()) -> list[tuple[str, dict[str, Any]]]:
        """Return the names and objects one level below, but for the known ones, newest first."""

        def question(tables: _Tables) -> tuple[bool, list[tuple[str, dict[str, Any]]]]:
            if not parts:
                return False, [(flow["flow_id"], flow) for flow in tables.rows(_FLOWS)]
            if len(parts) == 1:
                return False, [(run["run_number"], _shown(run)) for run in tables.runs(_RUNS, *parts)]
            run = tables.run(parts)
            return run is not None, [] if run is None else tables.children(run, parts)

        whole, found = self._ask(question)
        if not whole:
            found += super().children(parts, known.union(name for name, _ in found))
        return newest_first([pair for pair in found if pair[0] not in known])

    def metadata(self, task: tuple[str, ...]) -> list[dict[str, Any]]:
        """Return a task's metadata, newest first."""
        found = self._ask(lambda tables: tables.metadata(task))
        return super().metadata(task) if found is None else found

    def attempt(self, task: tuple[str, ...]) -> int | None:
        """Return the last attempt that is finished; None when none is."""
        here, found = self._ask(lambda tables: tables.attempt(task))
        return found if here else super().attempt(task)

    def artifacts(self, task: tuple[str, ...], attempt: int | None = None) -> dict[str, dict[str, Any]]:
        """Return the artifacts of an attempt by name, of the last finished one by default."""
        found = self._ask(lambda tables: tables.artifacts(task, attempt))
        return super().artifacts(task, attempt) if found is None else found

    def _ask(self, question: Callable[[_Tables], Any]) -> Any:
        """Return the answer to a question. Raises MetaflowException where the database cannot be read."""
        try:
            import sqlite3
        except ImportError as error:
            reason = f"this Python has no sqlite3 ({error}); MF_PYTHON chooses another one"
            raise MetaflowException(f"{self.database} cannot be read: {reason}") from None
        options, tries = "mode=ro", 0
        while True:
            try:
                return self._ask_once(sqlite3.connect, options, question)
            except sqlite3.OperationalError as error:
                text = str(error)
                tries += 1
                if "locked" in text and tries <= _RETRIES:
                    time.sleep(0.01 * tries)
                elif ("unable to open" in text or "readonly" in text) and options == "mode=ro" and self._rests():
                    # Even a reader adds files beside the database, which this folder may not allow.
                    options += "&immutable=1"
                else:
                    raise MetaflowException(f"{self.database} cannot be read: {text}") from error
            except (sqlite3.DatabaseError, ValueError) as error:
                raise MetaflowException(f"{self.database} is damaged, or no database of mf: {error}") from error

    def _ask_once(self, connect: Callable[..., Any], options: str, question: Callable[[_Tables], Any]) -> Any:
        from pathlib import Path

        connection = connect(f"{Path(self.database).as_uri()}?{options}", uri=True, timeout=_BUSY)
        try:
            tables = _Tables(connection)
            if not self._checked:
                version = tables.version()
                if version > SCHEMA:
                    raise MetaflowException(
                        f"{self.database} was made by a newer version of mf: its schema has version {version}, "
                        f"this one knows up to {SCHEMA}; update mf"
                    )
                if not version:
                    return question(_NoTables(connection))
                self._checked = True
            return question(tables)
        finally:
            connection.close()

    def _rests(self) -> bool:
        """Whether the file is there and whole by itself: no process has added anything to it that is elsewhere."""
        try:
            return os.path.isfile(self.database) and os.path.getsize(self.database + "-wal") == 0
        except OSError:
            return True


class _Tables:
    """What the tables say. Ids are those of pathspecs; a row's `key` is the number that the tables have for it."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def rows(self, text: str, *values: Any) -> list[dict[str, Any]]:
        cursor = self._connection.execute(text, values)
        names = [column[0] for column in cursor.description]
        return [dict(zip(names, row)) for row in cursor]

    def first(self, text: str, *values: Any) -> dict[str, Any] | None:
        return next(iter(self.rows(text, *values)), None)

    def version(self) -> int:
        """The version of the schema; 0 for a database that is being made."""
        names = {row["name"] for row in self.rows("SELECT name FROM sqlite_master WHERE type = 'table'")}
        if not names:
            return 0
        if "mf_schema" not in names:
            raise ValueError("it has tables, but no mf_schema")
        found = self.rows("SELECT coalesce(max(version_id), 0) AS version FROM mf_schema WHERE is_applied")
        return int(found[0]["version"])

    def runs(self, text: str, *values: Any) -> list[dict[str, Any]]:
        found = self.rows(text, *values)
        for run in found:
            run["run_number"] = str(run["run_number"])
            run["tags"], run["system_tags"] = _texts(run["tags"]), _texts(run["system_tags"])
        return found

    def run(self, parts: tuple[str, ...]) -> dict[str, Any] | None:
        """Return the run that an object is, or is in; None when it is not in the database."""
        column, key = _key(parts[1], "run_number", "run_id")
        return next(iter(self.runs(f"{_RUNS} AND {column} = ?", parts[0], key)), None)

    def _tasks(self, run: dict[str, Any], parts: tuple[str, ...]) -> list[dict[str, Any]]:
        text, values = _TASKS, [run["flow_id"], run["key"], parts[2]]
        if len(parts) > 3:
            column, key = _key(parts[3], "tasks_v3.task_id", "task_name")
            text, values = f"{text} AND {column} = ?", [*values, key]
        found = self.rows(text, *values)
        for task in found:
            task["task_id"] = str(task["task_id"])
        return found

    def read(self, run: dict[str, Any], parts: tuple[str, ...]) -> dict[str, Any] | None:
        """Return a run, step or task of a run."""
        if len(parts) == 2:
            return _shown(run)
        if len(parts) == 3:
            found = self.first(f"{_STEPS} AND step_name = ?", run["flow_id"], run["key"], parts[2])
        else:
            found = next(iter(self._tasks(run, parts)), None)
        return None if found is None else _shown({**run, **found})

    def children(self, run: dict[str, Any], parts: tuple[str, ...]) -> list[tuple[str, dict[str, Any]]]:
        """Return the steps of a run, or the tasks of a step."""
        if len(parts) == 2:
            steps = self.rows(_STEPS, run["flow_id"], run["key"])
            return [(step["step_name"], _shown({**run, **step})) for step in steps]
        tasks = self._tasks(run, parts) if len(parts) == 3 else []
        return [(task["task_id"], _shown({**run, **task})) for task in tasks]

    def _of_task(self, parts: tuple[str, ...]) -> tuple[dict[str, Any] | None, tuple[Any, ...] | None]:
        """Return a task's run and, if the task exists, the values for _OF_TASK."""
        run = self.run(parts)
        task = None if run is None else next(iter(self._tasks(run, parts)), None)
        return run, None if run is None or task is None else (run["flow_id"], run["key"], parts[2], task["key"])

    def metadata(self, parts: tuple[str, ...]) -> list[dict[str, Any]] | None:
        """Return a task's metadata, newest first; None when the run is not in the database."""
        run, values = self._of_task(parts)
        if run is None:
            return None
        found = [] if values is None else self.rows(_METADATA, *values)
        for row in found:
            row.update(zip(("flow_id", "run_number", "step_name", "task_id"), parts))
            row["tags"] = _texts(row["tags"])
            if row["field_name"] == "foreach-stack":
                row["value"] = _texts(row["value"])
        # Those of one moment in the order of the files.
        found.sort(key=lambda row: (-row["ts_epoch"], f"{row['field_name']}_"))
        return found

    def attempt(self, parts: tuple[str, ...]) -> tuple[bool, int | None]:
        """Return whether the run is in the database, and the task's last attempt that is finished."""
        run, values = self._of_task(parts)
        found = None if values is None else self.first(_ATTEMPT, *values)
        return run is not None, None if found is None else int(found["value"])

    def artifacts(self, parts: tuple[str, ...], attempt: int | None) -> dict[str, dict[str, Any]] | None:
        """Return the artifacts of an attempt; None when the run is not in the database."""
        run, values = self._of_task(parts)
        if run is None:
            return None
        if values is not None and attempt is None:
            done = self.first(_ATTEMPT, *values)
            attempt = None if done is None else int(done["value"])
        if values is None or attempt is None:
            return {}
        ids = dict(zip(("flow_id", "run_number", "step_name", "task_id"), parts))
        tags = {"tags": run["tags"], "system_tags": run["system_tags"]}
        return {row["name"]: {**ids, **tags, **row} for row in self.rows(_ARTIFACTS, *values, attempt)}


class _NoTables(_Tables):
    """A database whose tables are not made yet."""

    def rows(self, text: str, *values: Any) -> list[dict[str, Any]]:
        return []


def _key(text: str, number: str, name: str) -> tuple[str, Any]:
    """Return the column in which an id is, and its value. Numbers below zero are hidden: they stand for names."""
    if _NUMBER.match(text) and int(text) <= _LARGEST:
        return number, int(text)
    return name, text


def _texts(text: str | None) -> list[str]:
    found = json.loads(text) if text else []
    if not isinstance(found, list):
        raise ValueError(f"{text!r} is no list")
    return found


def _shown(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name != "key"}
