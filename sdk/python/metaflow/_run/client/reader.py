"""A process of mf that reads what is beyond this one's reach: a metadata service, an object store.

It is started with the first question and ends when this process does: its standard input is a pipe from here. A forked
process starts one of its own.
"""

from __future__ import annotations

import io
import json
import os
import subprocess
from _thread import allocate_lock

from metaflow.exception import MetaflowException, MetaflowNotFound

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import IO, Any

_LENGTH = 4
#: The longest header of an answer, in bytes: more is none.
_MAX_HEADER = 1 << 24
#: The readers of this process.
_all: list[Reader] = []


class Reader:
    """Asks questions, one at a time, from any thread (cmd/internal/reader is the other end)."""

    def __init__(self, command: list[str]) -> None:
        self._command = command
        self._lock = allocate_lock()
        self._process: Any = None
        if not _all:
            os.register_at_fork(after_in_child=_after_fork)
        _all.append(self)

    def ask(self, op: str, **question: Any) -> Any:
        """Return the answer to a question that is answered by JSON."""
        with self.open(op, **question) as answer:
            return json.load(answer)

    def open(self, op: str, **question: Any) -> IO[bytes]:
        """Return the answer to a question as a file. Raises MetaflowNotFound when what is asked for is not there."""
        text = json.dumps({"op": op, **question}).encode("ascii")
        header, answer = self._exchange(len(text).to_bytes(_LENGTH, "big") + text)
        error = header.get("error")
        if error:
            raise (MetaflowNotFound if header.get("missing") else MetaflowException)(error)
        return answer

    def _exchange(self, question: bytes) -> tuple[dict[str, Any], IO[bytes]]:
        with self._lock:
            while True:
                fresh = self._process is None
                try:
                    if fresh:
                        self._process = self._start()
                    self._write(question)
                    return self._answer()
                except (BrokenPipeError, EOFError):
                    code = self._stop()
                    if fresh:
                        raise MetaflowException(f"mf's reader of runs ended (exit code {code}); see above") from None
                except BaseException:  # such as that of a signal handler: what comes next is not an answer
                    self._stop()
                    raise

    def _start(self) -> Any:
        try:
            return subprocess.Popen(self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0)
        except OSError as error:
            raise MetaflowException(f"runs cannot be read: {self._command[0]} cannot be started: {error}") from None

    def _write(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[self._process.stdin.write(view) :]

    def _answer(self) -> tuple[dict[str, Any], IO[bytes]]:
        length = int.from_bytes(self._read(_LENGTH), "big")
        if length > _MAX_HEADER:
            raise MetaflowException(f"{self._command[0]} does not answer as mf's reader of runs does")
        header = json.loads(self._read(length))
        path = header.get("path")
        if path is None:
            return header, io.BytesIO(self._read(header.get("size") or 0))
        answer = open(path, "rb")  # noqa: SIM115 (the caller closes it)
        os.unlink(path)
        return header, answer

    def _read(self, size: int) -> bytes:
        chunks = []
        while size:
            chunk = self._process.stdout.read(size)
            if not chunk:
                raise EOFError
            chunks.append(chunk)
            size -= len(chunk)
        return b"".join(chunks)

    def _stop(self) -> int | None:
        """End the process; return its exit code."""
        process, self._process = self._process, None
        if process is None:
            return None
        process.stdin.close()
        try:
            code = process.wait(1)
        except subprocess.TimeoutExpired:
            process.kill()
            code = process.wait()
        process.stdout.close()
        return int(code)

    def forget(self) -> None:
        """Leave the process to the one that this process was forked from."""
        self._lock = allocate_lock()
        process, self._process = self._process, None
        if process is not None:
            process.returncode = 0  # not ours to wait for
            process.stdin.close()
            process.stdout.close()


def _after_fork() -> None:
    for reader in _all:
        reader.forget()
