"""Files of Metaflow's local metadata provider and local datastore, read only."""

from __future__ import annotations

import gzip
import io
import json
import os
import re

from metaflow.exception import MetaflowException, MetaflowNotFound
from metaflow.includefile import IncludedFile

from ..artifacts import Unpickler

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

_ARTIFACT = re.compile(r"^(\d+)_artifact_(.+)\.json$")
_MAX_ATTEMPTS = 6
_LOG_LINE = re.compile(r"^\[!?MFLOG\|0\|(?P<time>.+?)Z\|(?P<source>.+?)\|(?P<id>.+?)\](?P<text>.*)$")
#: The time of a line that is not in the log format: after all others.
NO_TIME = "3000-01-01T00:00:00.000000"


class Layout:
    """One `.metaflow` folder."""

    def __init__(self, root: str) -> None:
        #: Absolute path of the folder, `/.metaflow` included.
        self.root = root
        #: Absolute path of the database that is read as well; None here, for a folder alone.
        self.database: str | None = None

    @property
    def place(self) -> str:
        """Where the metadata is, as `metadata()` takes it."""
        return f"local@{os.path.dirname(self.root)}"

    def holds_this_run(self) -> bool:
        """Whether the running task is on record here, or soon will be."""
        given = os.environ.get("MF_METADATA_DB")
        return bool(given) and self.database == os.path.abspath(str(given))

    def _meta(self, parts: tuple[str, ...]) -> str:
        return os.path.join(self.root, *parts, "_meta")

    def read(self, parts: tuple[str, ...]) -> dict[str, Any] | None:
        """Return the object at Flow[/run[/step[/task]]]; None when there is none."""
        return _read_json(os.path.join(self._meta(parts), "_self.json"))

    def children(self, parts: tuple[str, ...], known: frozenset[str] = frozenset()) -> list[tuple[str, dict[str, Any]]]:
        """Return the names and objects one level below, but for the known ones, newest first."""
        found = []
        folder = os.path.join(self.root, *parts)
        for name in _listed(folder):
            if not name.startswith("_meta") and name not in known:
                value = self.read((*parts, name))
                if value is not None:
                    found.append((name, value))
        return newest_first(found)

    def runs(self, flow: str, tags: tuple[str, ...] = ()) -> Iterator[tuple[str, dict[str, Any]]]:
        """Iterate over the names and objects of a flow's runs that have all of the tags, newest first."""
        for name, run in self.children((flow,)):
            if {*(run.get("tags") or ()), *(run.get("system_tags") or ())}.issuperset(tags):
                yield name, run

    def tagged(self, run: tuple[str, ...]) -> dict[str, Any] | None:
        """Return a run for the sake of its tags."""
        return self.read(run)

    def metadata(self, task: tuple[str, ...]) -> list[dict[str, Any]]:
        """Return a task's metadata, newest first."""
        folder = self._meta(task)
        names = sorted(name for name in _listed(folder) if name.startswith("sysmeta_"))
        found = [value for value in (_read_json(os.path.join(folder, name)) for name in names) if value is not None]
        found.sort(key=lambda value: value.get("ts_epoch") or 0, reverse=True)
        return found

    def attempt(self, task: tuple[str, ...]) -> int | None:
        """Return the last attempt that is finished; None when none is."""
        folder = self._meta(task)
        done = sorted(name for name in _listed(folder) if name.startswith("sysmeta_attempt-done_"))
        value = _read_json(os.path.join(folder, done[-1])) if done else None
        return None if value is None else int(value["value"])

    def artifacts(self, task: tuple[str, ...], attempt: int | None = None) -> dict[str, dict[str, Any]]:
        """Return the artifacts of an attempt by name, of the last finished one by default."""
        wanted = self.attempt(task) if attempt is None else attempt
        folder = self._meta(task)
        found = {}
        for file in sorted(_listed(folder)):
            match = _ARTIFACT.match(file)
            if match and int(match.group(1)) == wanted:
                value = _read_json(os.path.join(folder, file))
                if value is not None:
                    found[match.group(2)] = value
        return found

    def load(self, artifact: dict[str, Any]) -> Any:
        """Return the value of an artifact. Raises MetaflowNotFound when its blob is gone."""
        blob = self.blob(artifact)
        value = Unpickler(io.BytesIO(blob)).load()
        return self._included(value.descriptor) if isinstance(value, IncludedFile) else value

    def included_size(self, artifact: dict[str, Any]) -> int | None:
        """Return the size of the file behind an IncludeFile parameter's artifact; None when it is not known."""
        value = Unpickler(io.BytesIO(self.blob(artifact))).load()
        return value.size if isinstance(value, IncludedFile) else None

    def is_included(self, task: tuple[str, ...], artifact: dict[str, Any]) -> bool:
        """Whether an artifact stands for an included file, as the task's record says."""
        return "IncludedFile" in str(self._info(task, artifact).get("type"))

    def _included(self, descriptor: dict[str, Any]) -> Any:
        """Return the content of an included file."""
        url = descriptor["url"]
        if not url.startswith("local://"):
            raise MetaflowException(f"the included file is at {url}; here mf reads local files only")
        path = url[len("local://") :]
        tail = os.path.join("data", *path.split("/")[-2:])
        for candidate in (path, os.path.join(self.root, tail), os.path.join(os.path.dirname(self.root), tail)):
            try:
                with open(candidate, "rb") as file:
                    return decoded(_unpacked(file.read(), descriptor), descriptor)
            except FileNotFoundError:
                continue
        raise MetaflowNotFound(f"the included file is not in the datastore: {path}")

    def blob(self, artifact: dict[str, Any]) -> bytes:
        """Return the pickle of an artifact."""
        kind = artifact.get("ds_type", "local")
        if kind != "local":
            raise MetaflowException(f"artifact '{artifact['name']}' is in a {kind} datastore; here mf reads local ones")
        digest = artifact["sha"]
        for root in self._roots(recorded(artifact)):
            path = os.path.join(root, artifact["flow_id"], "data", digest[:2], digest)
            try:
                with open(path, "rb") as file:
                    packed = file.read()
            except FileNotFoundError:
                continue
            meta = _read_json(path + "_meta") or {}
            return packed if meta.get("cas_raw") else gzip.decompress(packed)
        raise MetaflowNotFound(f"the value of artifact '{artifact['name']}' is not in the datastore: {path}")

    def _roots(self, recorded: str) -> list[str]:
        """Where a task's data may be: where it was written, or here, if the folder has been moved since."""
        return [recorded, self.root] if recorded and recorded != self.root else [self.root]

    def size(self, task: tuple[str, ...], artifact: dict[str, Any]) -> int | None:
        """Return the size of an artifact's pickle, from the task's record; None when it is not known."""
        size = self._info(task, artifact).get("size")
        return None if size is None else int(size)

    def _info(self, task: tuple[str, ...], artifact: dict[str, Any]) -> dict[str, Any]:
        """Return what the task's record says about an artifact."""
        for root in self._roots(recorded(artifact)):
            record = _read_json(os.path.join(root, *task, f"{artifact.get('attempt_id') or 0}.data.json"))
            if record is not None:
                return dict(record.get("info", {}).get(artifact["name"], {}))
        return {}

    def log(self, root: str, task: tuple[str, ...], stream: str, attempt: int) -> list[tuple[str, str]]:
        """Return (time, text) for each line of a log, in order."""
        lines: list[tuple[str, str]] = []
        for source in ("runtime", "task"):
            for place in self._roots(root):
                path = os.path.join(place, *task, f"{attempt}.{source}_{stream}.log")
                try:
                    with open(path, encoding="utf-8", errors="replace") as file:
                        lines += [_log_line(line) for line in file.read().splitlines()]
                    break
                except FileNotFoundError:
                    continue
        lines.sort(key=lambda line: line[0])
        return lines


def _log_line(line: str) -> tuple[str, str]:
    match = _LOG_LINE.match(line)
    return (match.group("time"), match.group("text")) if match else (NO_TIME, line)


def newest_first(found: list[tuple[str, dict[str, Any]]]) -> list[tuple[str, dict[str, Any]]]:
    """Return names and objects in the order in which the client shows them."""
    return sorted(found, key=lambda pair: (pair[1].get("ts_epoch") or 0, pair[0]), reverse=True)


def recorded(artifact: dict[str, Any]) -> str:
    """Return the root of the datastore into which an artifact was written; empty when it is not known."""
    return str(artifact.get("location") or "").partition(":root:")[2]


def _listed(folder: str) -> list[str]:
    try:
        return os.listdir(folder)
    except (FileNotFoundError, NotADirectoryError):
        return []


def _read_json(path: str) -> dict[str, Any] | None:
    try:
        with open(path, encoding="utf-8") as file:
            value = json.load(file)
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None
    return value if isinstance(value, dict) else None


def _unpacked(content: bytes, descriptor: dict[str, Any]) -> bytes:
    if descriptor.get("sub-type") == "uploaded" or descriptor.get("type") == "uploader-v1":
        return gzip.decompress(content)
    return content


def decoded(content: bytes, descriptor: dict[str, Any]) -> Any:
    """Return the value that an included file's bytes are."""
    if descriptor.get("is_text"):
        return io.TextIOWrapper(io.BytesIO(content), encoding=descriptor.get("encoding") or "utf-8").read()
    return content
