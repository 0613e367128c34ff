"""The database of mf, `.mf/metadata.db`, read only.

Connections last as long as one question: tasks are forked, and flows fork and start threads on their own, across which
SQLite's connections must not be carried.
"""

from __future__ import annotations

import json
import os
import re
import time
from contextlib import contextmanager

from metaflow.exception import MetaflowException

from .layout import Layout, newest_first

TYPE_CHECKING = False
if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator
    from typing import Any

#: The newest schema that is known here: the number of migrations in metadata/sqlite.
SCHEMA = 1
#: Seconds that SQLite waits for a lock. Readers meet one only while the database is opened, closed or recovered.
_BUSY = 2.0
#: How often a question that met a lock nevertheless is asked again.
_RETRIES = 4
_NUMBER = re.compile(r"(?:0|[1-9][0-9]{0,18})\Z")
_TASK = "flow_id = ? AND run_number = ? AND step_name = ? AND task_id = ?"


class Database(Layout):
    """The runs of mf's database, and beside them those that only the `.metaflow` folder knows.

    A run that the database has is read from there, whatever the folder says of it; any other run is read from the
    folder. Values, sizes and logs are in the datastore in either case.
    """

    def __init__(self, root: str, path: str) -> None:
        super().__init__(root)
        self._path = path
        self._known = False

    def read(self, parts: tuple[str, ...]) -> dict[str, Any] | None:
        """Return the object at Flow[/run[/step[/task]]]; None when there is none."""
        with self._open() as tables:
            if len(parts) == 1:
                found = tables.flows(parts)
            else:
                run = tables.run(parts)
                found = [] if run is None else tables.listed(run, parts)
                if run is not None:
                    return next((value for _, value in found), None)
        return found[0][1] if found else super().read(parts)

    def children(self, parts: tuple[str, ...], known: frozenset[str] = frozenset()) -> list[tuple[str, dict[str, Any]]]:
        """Return the names and objects one level below, newest first."""
        with self._open() as tables:
            if not parts:
                found = tables.flows(())
            elif len(parts) == 1:
                found = tables.runs(parts)
            else:
                run = tables.run(parts)
                if run is not None:
                    return newest_first(tables.below(run, parts))
                found = []
        return newest_first([*found, *super().children(parts, known.union(name for name, _ in found))])
