"""Frames of the step protocol (docs/step-protocol.md): JSON messages with attached bytes over a Unix stream socket."""

from __future__ import annotations

import json
import os
import socket
from _thread import allocate_lock, get_ident
from array import array

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Message = dict[str, Any]

_HEADER = 8
_READ_SIZE = 1 << 16
_FLUSH_SIZE = 1 << 20
_MAX_FDS = 16
_CLOSE_ON_EXEC = getattr(socket, "MSG_CMSG_CLOEXEC", 0)
_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


class ProtocolError(Exception):
    """The runtime sent something that the protocol does not allow, or refused a request."""


def encode_frame(message: Message, data: bytes = b"") -> bytes:
    """Return one frame: two big-endian u32 lengths, the JSON object, the attached data."""
    try:
        text = _encode(message).encode("utf-8")
    except UnicodeEncodeError:  # lone surrogates, e.g. of a file name in an exception's message
        text = json.dumps(message).encode("ascii")
    return b"".join((len(text).to_bytes(4, "big"), len(data).to_bytes(4, "big"), text, data))


class FrameBuffer:
    """Bytes received so far; yields a frame when one is complete."""

    def __init__(self) -> None:
        self._bytes = bytearray()

    def feed(self, chunk: bytes) -> None:
        """Append received bytes."""
        self._bytes += chunk

    def pop(self) -> tuple[Message, bytes] | None:
        """Remove and return the first frame, or None while it is incomplete."""
        held = self._bytes
        if len(held) < _HEADER:
            return None
        end_of_text = _HEADER + int.from_bytes(held[0:4], "big")
        end = end_of_text + int.from_bytes(held[4:8], "big")
        if len(held) < end:
            return None
        message = json.loads(bytes(held[_HEADER:end_of_text]))
        data = bytes(held[end_of_text:end])
        del held[:end]
        if not isinstance(message, dict):
            raise ProtocolError(f"a frame holds a JSON {type(message).__name__} where an object is due")
        return message, data


class ControlChannel:
    """The zygote's end of the control socket: never blocks on reading, receives file descriptors."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._frames = FrameBuffer()
        self._fds: list[int] = []
        self.closed = False

    def fileno(self) -> int:
        """Return the socket's descriptor, for select."""
        return self._sock.fileno()

    def receive(self) -> list[Message]:
        """Read what is there and return the complete messages; sets `closed` at end of file."""
        # Not socket.recv_fds: it ignores its flags, and what a step body executes must not inherit these sockets.
        try:
            chunk, extra, _, _ = self._sock.recvmsg(_READ_SIZE, socket.CMSG_LEN(_MAX_FDS * 4), _CLOSE_ON_EXEC)
        except ConnectionError:
            chunk, extra = b"", []
        for level, kind, packed in extra:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                fds = array("i")
                fds.frombytes(packed[: len(packed) - len(packed) % fds.itemsize])
                self._fds += fds
        if not chunk:
            self.closed = True
            return []
        self._frames.feed(chunk)
        messages = []
        while True:
            frame = self._frames.pop()
            if frame is None:
                return messages
            messages.append(frame[0])

    def take_fds(self, count: int) -> list[int]:
        """Remove and return the first `count` descriptors; they arrive in the order of the messages."""
        taken, self._fds = self._fds[:count], self._fds[count:]
        if len(taken) < count:
            raise ProtocolError(f"a message came with {len(taken)} of {count} file descriptors")
        return taken

    def send(self, message: Message) -> None:
        """Send one message; sets `closed` when nobody listens any more."""
        try:
            self._sock.sendall(encode_frame(message))
        except OSError:
            self.closed = True

    def close(self) -> None:
        """Close the socket and every descriptor not taken."""
        self._sock.close()
        for fd in self._fds:
            os.close(fd)
        self._fds = []


class TaskChannel:
    """The child's end of the task socket.

    Messages that need no answer are gathered and leave together, with the next request or with `flush`. Requests may
    come from any thread, and from processes that the step body forked: a lock between the processes is taken from
    the first fork on.
    """

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._frames = FrameBuffer()
        self._pending: list[bytes] = []
        self._pending_size = 0
        self._lock = allocate_lock()
        self._process_lock: Any | None = None
        #: The thread whose request is on its way; a signal handler that runs in it must not raise.
        self.busy_thread: int | None = None
        #: Called after each request, in its thread; a signal handler that held back raises from here.
        self.after_request: Any | None = None

    def guard_forks(self) -> None:
        """Keep requests of forked processes apart from this one's; to be called once, in the task's process."""
        os.register_at_fork(
            before=self._before_fork, after_in_parent=self._lock.release, after_in_child=self._lock.release
        )

    def _before_fork(self) -> None:
        self._lock.acquire()
        if self._process_lock is None:
            import tempfile

            self._process_lock = tempfile.TemporaryFile()  # noqa: SIM115 (kept as long as the process)

    def receive(self) -> tuple[Message, bytes]:
        """Block until a frame is there; raises EOFError when the runtime is gone."""
        while True:
            frame = self._frames.pop()
            if frame is not None:
                return frame
            chunk = self._sock.recv(_READ_SIZE)
            if not chunk:
                raise EOFError("the task runtime has closed the connection")
            self._frames.feed(chunk)

    def post(self, message: Message, data: bytes = b"") -> None:
        """Send a message that has no answer, now or with the next ones."""
        frame = encode_frame(message, data)
        self._pending.append(frame)
        self._pending_size += len(frame)
        if self._pending_size > _FLUSH_SIZE:
            self.flush()

    def flush(self) -> None:
        """Send what `post` has gathered."""
        if self._pending:
            frames, self._pending, self._pending_size = self._pending, [], 0
            self._sock.sendall(b"".join(frames))

    def request(self, message: Message) -> tuple[Message, bytes]:
        """Send a request and return its answer; raises ProtocolError for an `error` answer."""
        with self._lock:
            self.busy_thread = get_ident()
            try:
                shared = self._process_lock
                if shared is not None:
                    import fcntl

                    fcntl.lockf(shared, fcntl.LOCK_EX)
                try:
                    self.post(message)
                    self.flush()
                    answer, data = self.receive()
                finally:
                    if shared is not None:
                        fcntl.lockf(shared, fcntl.LOCK_UN)
            finally:
                self.busy_thread = None
        if self.after_request is not None:
            self.after_request()
        if answer.get("op") == "error":
            raise ProtocolError(str(answer.get("message")))
        return answer, data
