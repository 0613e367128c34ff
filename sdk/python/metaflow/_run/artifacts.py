"""Artifacts over the task socket: unpickled when first touched, pickled (protocol 4) when the step has ended."""

from __future__ import annotations

import io
import os
import pickle
from collections import namedtuple
from hashlib import sha1

from metaflow.exception import MetaflowException

from .protocol import ProtocolError, TaskChannel

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

PICKLE_PROTOCOL = 4

#: Artifacts that the runtime writes: never sent from here, whatever a body assigned (docs/step-protocol.md).
RUNTIME_ARTIFACTS = frozenset(
    (
        *("_graph_info", "_foreach_stack", "_iteration_stack", "_foreach_var", "_foreach_num_splits"),
        *("_foreach_values", "_transition", "_current_step", "_task_ok", "_success", "_exception"),
        *("_catch_exception", "_unbounded_foreach", "_parallel_ubf_iter", "_control_mapper_tasks"),
        *("_control_task_is_mapper_zero", "name", "_configs_processed"),
    )
)

#: Types whose values nobody can change, so that the same object has the same pickle.
_UNCHANGEABLE = (int, str, float, bool, bytes, complex, type(None))


#: One level of `_foreach_stack`; in pickles its module is `__main__`.
ForeachFrame = namedtuple("ForeachFrame", ["step", "var", "num_splits", "index", "value"], defaults=(None,) * 5)
ForeachFrame.__module__ = "__main__"


class Unpickler(pickle.Unpickler):
    """Resolves the one class that Metaflow places in `__main__` by itself."""

    def find_class(self, module: str, name: str) -> Any:
        if name == "ForeachFrame" and module == "__main__":
            return ForeachFrame
        return super().find_class(module, name)


def unpickle(answer: dict[str, Any], data: bytes) -> Any:
    """Return the value in a `data` answer: attached bytes, or a file, which is deleted."""
    path = answer.get("path")
    if path is None:
        return Unpickler(io.BytesIO(data)).load()
    try:
        with open(path, "rb") as file:
            return Unpickler(file).load()
    finally:
        os.unlink(path)


def read_bytes(answer: dict[str, Any], data: bytes) -> bytes:
    """Return the bytes of a `data` answer."""
    path = answer.get("path")
    if path is None:
        return data
    try:
        with open(path, "rb") as file:
            return file.read()
    finally:
        os.unlink(path)


class LoadError(MetaflowException):
    """An artifact could not be fetched or unpickled. Not an AttributeError: `hasattr` must not hide it."""


def fetch(channel: TaskChannel, name: str, digest: str) -> Any:
    """Ask for an artifact and unpickle it; raises LoadError."""
    try:
        answer, data = channel.request({"op": "get", "name": name, "digest": digest})
    except ProtocolError as error:
        raise LoadError(f"artifact '{name}' could not be read: {error}") from None
    try:
        return unpickle(answer, data)
    except Exception as error:
        raise LoadError(f"artifact '{name}' could not be unpickled: {type(error).__name__}: {error}") from error


class PickleError(MetaflowException):
    """An artifact that cannot be pickled."""


class _Sink:
    """A file for the pickler: keeps the bytes in memory, and in a file once they are many.

    With `compare` it hashes as well, and gives up keeping the bytes when they are many: a large value is seldom
    changed, so it is pickled once more rather than written for nothing.
    """

    def __init__(self, directory: str, limit: int, compare: bool) -> None:
        self.size = 0
        self.path: str | None = None
        self.complete = True
        self._directory = directory
        self._limit = limit
        self._hash = sha1() if compare else None
        self._chunks: list[bytes] = []
        self._file: Any | None = None

    def write(self, chunk: Any) -> int:
        length = memoryview(chunk).nbytes
        self.size += length
        if self._hash is not None:
            self._hash.update(chunk)
        if self._file is not None:
            self._file.write(chunk)
        elif self.complete:
            self._chunks.append(bytes(chunk))
            if self.size > self._limit:
                self._overflow()
        return length

    def _overflow(self) -> None:
        if self._hash is not None:
            self.complete = False
        else:
            import tempfile

            fd, self.path = tempfile.mkstemp(prefix="artifact-", dir=self._directory)
            self._file = os.fdopen(fd, "wb")
            self._file.writelines(self._chunks)
        self._chunks = []

    @property
    def digest(self) -> str | None:
        return None if self._hash is None else self._hash.hexdigest()

    def finish(self) -> bytes:
        """Close the file if there is one; return the bytes if there is none."""
        if self._file is not None:
            self._file.close()
        return b"".join(self._chunks)

    def discard(self) -> None:
        """Delete the file if there is one."""
        if self._file is not None and self.path is not None:
            self._file.close()
            os.unlink(self.path)


class Writer:
    """Pickles artifacts and posts them."""

    def __init__(self, channel: TaskChannel, tempdir: str, inline_max: int) -> None:
        self._channel = channel
        self._tempdir = tempdir
        self._limit = inline_max

    def put(self, name: str, value: Any, unless_digest: str | None = None) -> bool:
        """Send an artifact, unless its pickle has the digest given; return whether it was sent.

        Raises PickleError, and OSError when a large one cannot be written.
        """
        sink = self._pickle(name, value, compare=unless_digest is not None)
        if unless_digest is not None:
            if sink.digest == unless_digest:
                return False
            if not sink.complete:
                sink = self._pickle(name, value, compare=False)
        data = sink.finish()
        message = {"op": "put", "name": name, "type": str(type(value)), "size": sink.size, "path": sink.path}
        self._channel.post(message, data)
        return True

    def _pickle(self, name: str, value: Any, compare: bool) -> _Sink:
        sink = _Sink(self._tempdir, self._limit, compare)
        try:
            pickle.Pickler(sink, PICKLE_PROTOCOL).dump(value)
        except OSError:
            sink.discard()
            raise
        except Exception as error:
            sink.discard()
            raise PickleError(_unpicklable_message(name, value, error)) from error
        return sink


def _unpicklable_message(name: str, value: Any, error: Exception) -> str:
    return (
        f"artifact 'self.{name}' cannot be stored: a value of type {type(value)} "
        f"({type(error).__name__}: {error}).\n"
        "Every attribute of self is pickled when the step ends. Keep such a value in a local variable, "
        f"delete it before the step ends (del self.{name}), or store plain data it can be made from again"
        f"{_advice(value)}."
    )


def _advice(value: Any) -> str:
    if hasattr(value, "__next__"):
        return ", such as list(...)"
    if getattr(value, "__name__", "") == "<lambda>":
        return "; a function defined with def at the top of the file can be stored"
    return ""


def unchangeable(value: Any) -> bool:
    """Whether a value is of a type that nobody can change in place."""
    return type(value) in _UNCHANGEABLE


def fingerprint(value: Any) -> bytes:
    """Return the SHA-1 of a value's pickle; empty when it cannot be pickled."""
    try:
        return sha1(pickle.dumps(value, PICKLE_PROTOCOL)).digest()
    except Exception:
        return b""
