"""Runs that a team shares, in a metadata service and an object store, or in one of them: mf itself reads them."""

from __future__ import annotations

import json
import os
import time

from metaflow.exception import MetaflowException, MetaflowNotFound

from ..artifacts import Unpickler
from .layout import NO_TIME, Layout, decoded, newest_first, recorded
from .reader import Reader

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from metaflow.includefile import IncludedFile

#: How many runs are asked for at first; all of them once that was not enough twice.
_FIRST, _MORE = 16, 256
#: Seconds for which an answer may serve once more: questions about one object come in bursts.
_BURST = 1.0


class Remote(Layout):
    """The runs of the place that MF_READER describes (cmd/internal/reader)."""

    def __init__(self, text: str) -> None:
        try:
            place = json.loads(text)
            self._reader = Reader([str(word) for word in place["command"]])
            super().__init__(place["datastore"])
        except (ValueError, KeyError, TypeError):
            raise MetaflowException("MF_READER is not what mf made it") from None
        service, database = place.get("service"), place.get("database")
        self._metadata = "local@" + os.path.dirname(database) if database else f"service@{service or ''}"
        self._kept: dict[tuple[Any, ...], tuple[float, Any]] = {}

    @property
    def place(self) -> str:
        """See Layout."""
        return self._metadata

    def holds_this_run(self) -> bool:
        """See Layout."""
        return True

    def read(self, parts: tuple[str, ...]) -> dict[str, Any] | None:
        """See Layout."""
        return self._reader.ask("read", path=parts)  # type: ignore[no-any-return]

    def tagged(self, run: tuple[str, ...]) -> dict[str, Any] | None:
        """See Layout."""
        return self._keep(("read", *run), lambda: self.read(run))  # type: ignore[no-any-return]

    def _keep(self, key: tuple[Any, ...], ask: Any) -> Any:
        """Return a recent answer to a question, or a new one."""
        now = time.monotonic()
        found = self._kept.get(key)
        if found is None or now - found[0] > _BURST:
            if len(self._kept) > 100:
                self._kept = {}
            found = (now, ask())
            if found[1]:
                self._kept[key] = found
        return found[1]

    def children(self, parts: tuple[str, ...], known: frozenset[str] = frozenset()) -> list[tuple[str, dict[str, Any]]]:
        """See Layout."""
        found = self._reader.ask("children", path=parts)
        return newest_first([(name, row) for name, row in found if name not in known])

    def runs(self, flow: str, tags: tuple[str, ...] = ()) -> Iterator[tuple[str, dict[str, Any]]]:
        """See Layout. Few are asked for at first: most want the latest."""
        seen = set()
        for limit in (_FIRST, _MORE, 0):
            found = self._reader.ask("runs", path=[flow], tags=tags, limit=limit)
            for name, row in found:
                if name not in seen:
                    seen.add(name)
                    yield name, row
            if len(found) < limit:
                return

    def metadata(self, task: tuple[str, ...]) -> list[dict[str, Any]]:
        """See Layout."""
        return self._reader.ask("metadata", path=task)  # type: ignore[no-any-return]

    def attempt(self, task: tuple[str, ...]) -> int | None:
        """See Layout."""
        return next((int(row["value"]) for row in self.metadata(task) if row["field_name"] == "attempt-done"), None)

    def artifacts(self, task: tuple[str, ...], attempt: int | None = None) -> dict[str, dict[str, Any]]:
        """See Layout."""
        ask = self._reader.ask
        return self._keep(  # type: ignore[no-any-return]
            ("artifacts", *task, attempt), lambda: ask("artifacts", path=task, attempt=attempt)
        )

    def load(self, artifact: dict[str, Any]) -> Any:
        """See Layout."""
        value = self._unpickled(artifact)
        return self._included(value.descriptor) if self._stands_for_file(value) else value

    def included_size(self, artifact: dict[str, Any]) -> int | None:
        """See Layout."""
        value = self._unpickled(artifact)
        return value.size if self._stands_for_file(value) else None

    def _unpickled(self, artifact: dict[str, Any]) -> Any:
        question = {"path": [artifact["flow_id"]], "digest": artifact["sha"], "root": recorded(artifact)}
        try:
            file = self._reader.open("value", **question)
        except MetaflowNotFound as error:
            name = artifact["name"]
            raise MetaflowNotFound(f"the value of artifact '{name}' is not in the datastore: {error}") from None
        with file:
            return Unpickler(file).load()

    def _stands_for_file(self, value: IncludedFile | Any) -> bool:
        from metaflow.includefile import IncludedFile

        return isinstance(value, IncludedFile)

    def _included(self, descriptor: dict[str, Any]) -> Any:
        with self._reader.open("include", descriptor=descriptor) as file:
            return decoded(file.read(), descriptor)

    def _info(self, task: tuple[str, ...], artifact: dict[str, Any]) -> dict[str, Any]:
        attempt = artifact.get("attempt_id") or 0
        found = self._reader.ask("info", path=task, attempt=attempt, root=recorded(artifact))
        return found.get(artifact["name"], {})  # type: ignore[no-any-return]

    def log(self, root: str, task: tuple[str, ...], stream: str, attempt: int) -> list[tuple[str, str]]:
        """See Layout."""
        lines = []
        with self._reader.open("log", path=task, stream=stream, attempt=attempt, root=root) as file:
            for line in file:
                when, _, text = line.decode("utf-8", "replace").rstrip("\n").partition(" ")
                lines.append((when or NO_TIME, text))
        return lines
