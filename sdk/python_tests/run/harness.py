"""Plays the task runtime over the protocol's sockets: a store in memory, a zygote, and tasks given one by one."""

from __future__ import annotations

import array
import hashlib
import json
import os
import pickle
import select
import shutil
import socket
import subprocess
import sys
import tempfile
import textwrap
import time
import unittest
from typing import Any

SDK = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "python")
SDK = os.path.normpath(SDK)
INLINE_MAX = 4096
TIMEOUT = 30.0


class Peer:
    """One end of a socket: sends and receives frames."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        sock.settimeout(TIMEOUT)
        self._held = b""

    def send(self, message: dict[str, Any], data: bytes = b"", fds: tuple[int, ...] = ()) -> None:
        text = json.dumps(message).encode()
        frame = len(text).to_bytes(4, "big") + len(data).to_bytes(4, "big") + text + data
        if fds:
            sent = self.sock.sendmsg([frame], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))])
            frame = frame[sent:]
        self.sock.sendall(frame)

    def _read(self, size: int) -> bytes:
        while len(self._held) < size:
            chunk = self.sock.recv(65536)
            if not chunk:
                raise EOFError
            self._held += chunk
        taken, self._held = self._held[:size], self._held[size:]
        return taken

    def receive(self) -> tuple[dict[str, Any], bytes]:
        header = self._read(8)
        text = self._read(int.from_bytes(header[:4], "big"))
        return json.loads(text), self._read(int.from_bytes(header[4:], "big"))

    def close(self) -> None:
        self.sock.close()


class Task:
    """What one task sent, and how it ended."""

    def __init__(self) -> None:
        self.step = self.id = ""
        self.pickles: dict[str, bytes] = {}
        self.types: dict[str, str] = {}
        self.refs: dict[str, int] = {}
        self.gets: list[str] = []
        self.by_file: list[str] = []
        self.artifacts: dict[str, str] = {}
        self.done: dict[str, Any] | None = None
        self.exited: dict[str, Any] = {}
        self.stdout = self.stderr = ""
        self.frames: list[list[Any]] = []

    def __getitem__(self, name: str) -> Any:
        return pickle.loads(self.pickles[name])

    @property
    def ok(self) -> bool:
        return self.done is not None and self.done["ok"]

    @property
    def error(self) -> dict[str, Any]:
        assert self.done is not None and not self.done["ok"], (self.done, self.stderr)
        return self.done["exception"]

    @property
    def transition(self) -> dict[str, Any]:
        assert self.done is not None and self.done["ok"], (self.done, self.stderr)
        return self.done["transition"]

    def given(self, run: str = "1") -> dict[str, Any]:
        """This task as an element of another's `inputs`."""
        return {"step": self.step, "task": self.id, "run": run, "index": 0, "artifacts": self.artifacts}


class Worker:
    """A worker process for one flow."""

    def __init__(
        self,
        source: str,
        isolated: bool = False,
        env: dict[str, str] | None = None,
        folder: str | None = None,
        python: str = sys.executable,
    ) -> None:
        self.folder = folder or tempfile.mkdtemp(prefix="mf-run-")
        self.flow_file = os.path.join(self.folder, "flow.py")
        with open(self.flow_file, "w", encoding="utf-8") as file:
            file.write(textwrap.dedent(source))
        self.blobs: dict[str, bytes] = {}
        self.files: dict[str, bytes] = {}
        self.isolated = isolated
        self.environment = {**os.environ, "PYTHONPATH": SDK, **(env or {})}
        self.python = python
        self.counter = 0
        self.parameters: Task | None = None
        if not isolated:
            self.process, self.control = self._start([])

    def _start(self, flags: list[str], **streams: Any) -> tuple[Any, Peer]:
        ours, theirs = socket.socketpair()
        env = {**self.environment, "MF_PROTOCOL_FD": str(theirs.fileno())}
        command = [self.python, os.path.join(SDK, "mf_worker.py"), *flags, self.flow_file]
        process = subprocess.Popen(command, env=env, cwd=self.folder, pass_fds=[theirs.fileno()], **streams)
        theirs.close()
        return process, Peer(ours)

    def describe(self, **options: Any) -> dict[str, Any]:
        self.control.send({"op": "describe", "with": [], "configs": {}, "config_values": {}, **options})
        return self.control.receive()[0]

    def fork(self, task: str) -> tuple[Peer, int, int, int]:
        """Fork a child; returns its socket, pid and the read ends of stdout and stderr."""
        ours, theirs = socket.socketpair()
        out_read, out_write = os.pipe()
        err_read, err_write = os.pipe()
        self.control.send({"op": "fork", "id": task}, fds=(theirs.fileno(), out_write, err_write))
        theirs.close()
        os.close(out_write)
        os.close(err_write)
        answer, _ = self.control.receive()
        assert answer["op"] == "forked" and answer["id"] == task, answer
        return Peer(ours), answer["pid"], out_read, err_read

    def run_job(self, job: dict[str, Any]) -> Task:
        """Run one job in a child of its own."""
        self.counter += 1
        task = Task()
        task.id = job["task"] if "task" in job else str(self.counter)
        task.step = job.get("step", "_parameters")
        tempdir = os.path.join(self.folder, f"tmp-{self.counter}")
        os.makedirs(tempdir)
        job = {"tempdir": tempdir, "inline_max": INLINE_MAX, **job}
        if self.isolated:
            process, peer = self._start(["--task"], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
            streams = [process.stdout.fileno(), process.stderr.fileno()]
        else:
            peer, _, *streams = self.fork(task.id)
        peer.send(job)
        chunks: dict[int, bytes] = dict.fromkeys(streams, b"")
        open_ends: list[Any] = [*streams, peer.sock]
        while open_ends:
            ready, _, _ = select.select(open_ends, [], [], TIMEOUT)
            assert ready, f"the task hangs; stderr so far: {chunks[streams[1]]!r}"
            for end in ready:
                if end is peer.sock:
                    if not self._serve(peer, task):
                        open_ends.remove(end)
                else:
                    chunk = os.read(end, 65536)
                    chunks[end] += chunk
                    if not chunk:
                        open_ends.remove(end)
        peer.close()
        if self.isolated:
            task.exited = {"code": process.wait(TIMEOUT), "signal": 0}
            process.stdout.close()
            process.stderr.close()
        else:
            task.exited, _ = self.control.receive()
            for stream in streams:
                os.close(stream)
        task.stdout, task.stderr = (chunks[stream].decode() for stream in streams)
        leftover = os.listdir(tempdir)
        assert not leftover, leftover
        self._finish(task, job)
        return task

    def _serve(self, peer: Peer, task: Task) -> bool:
        try:
            message, data = peer.receive()
            while True:
                self._answer(peer, task, message, data)
                if not peer._held:
                    return True
                message, data = peer.receive()
        except (EOFError, ConnectionError):
            return False

    def _answer(self, peer: Peer, task: Task, message: dict[str, Any], data: bytes) -> None:
        op = message["op"]
        if op == "put":
            if message["path"] is not None:
                task.by_file.append(message["name"])
                with open(message["path"], "rb") as file:
                    data = file.read()
                os.unlink(message["path"])
            assert len(data) == message["size"]
            assert len(data) <= INLINE_MAX or message["path"] is not None
            task.pickles[message["name"]] = data
            task.types[message["name"]] = message["type"]
        elif op == "ref":
            task.refs[message["name"]] = message["input"]
        elif op == "get":
            task.gets.append(message["name"])
            self._send_data(peer, task, self.blobs.get(message["digest"]), message["digest"])
        elif op == "include":
            with open(message["path"], "rb") as file:
                content = file.read()
            url = "local:///store/" + hashlib.sha1(content).hexdigest()
            self.files[url] = content
            descriptor = {"url": url, "type": "uploader-v2", "is_text": message["is_text"]}
            descriptor.update(encoding=message["encoding"], note="Internal representation of IncludeFile")
            peer.send({"op": "included", "descriptor": {**descriptor, "sub-type": "uploaded", "size": len(content)}})
        elif op == "file":
            self._send_data(peer, task, self.files.get(message["descriptor"]["url"]), "")
        elif op == "done":
            task.done = message
        else:
            raise AssertionError(message)

    def _send_data(self, peer: Peer, task: Task, blob: bytes | None, digest: str) -> None:
        if blob is None:
            peer.send({"op": "error", "message": f"there is no blob {digest}"})
        elif len(blob) <= INLINE_MAX:
            peer.send({"op": "data", "digest": digest, "path": None}, blob)
        else:
            fd, path = tempfile.mkstemp(dir=self.folder)
            with os.fdopen(fd, "wb") as file:
                file.write(blob)
            peer.send({"op": "data", "digest": digest, "path": path})

    def _finish(self, task: Task, job: dict[str, Any]) -> None:
        """Put together the task's artifacts as the runtime does."""
        if job["op"] == "step":
            inputs = job["inputs"]
            base = (inputs[0] if inputs else job["parameters_task"])["artifacts"]
            if job["join"]:
                base = {name: base[name] for name in job["parameters"] if name in base}
            task.artifacts.update(base)
            for name, index in task.refs.items():
                task.artifacts[name] = inputs[index]["artifacts"][name]
            frames = [_frame(*frame) for frame in job["foreach_stack"]]
            task.frames = job["foreach_stack"]
            for name, value in (("_foreach_stack", frames), ("_current_step", job["step"]), ("_task_ok", task.ok)):
                task.artifacts[name] = self.store(_dump_frames(value) if name == "_foreach_stack" else dump(value))
        for name, blob in task.pickles.items():
            task.artifacts[name] = self.store(blob)

    def store(self, blob: bytes) -> str:
        digest = hashlib.sha1(blob).hexdigest()
        self.blobs[digest] = blob
        return digest

    def init(self, **parameters: str) -> Task:
        """Make the `_parameters` task."""
        job = {"op": "init", "parameters": parameters, "flow": "F", "username": "tester", "namespace": "user:tester"}
        self.parameters = self.run_job({**job, "tags": []})
        return self.parameters

    def step(self, name: str, *inputs: Task, **fields: Any) -> Task:
        """Run a step whose inputs are other tasks; keyword arguments replace fields of the job."""
        if self.parameters is None:
            self.init()
        assert self.parameters is not None
        fields = {key.rstrip("_"): value for key, value in fields.items()}
        following = fields.pop("next", None)
        if isinstance(following, str):
            following = {"kind": "linear", "targets": following.split(), "foreach": None}
        stack = fields.pop("foreach_stack", None)
        if stack is None:
            stack = list(inputs[0].frames) if inputs else []
            if fields.get("join") == "foreach":
                stack = stack[:-1]
            if fields.get("item"):
                splits = inputs[0].transition
                index = fields["item"]["index"]
                frame = [name, fields["item"]["var"], splits["num_splits"], index, splits["values"][index]]
                stack = [*stack, frame]
        job = {
            "op": "step", "flow": "F", "run": "1", "step": name, "task": str(self.counter + 100), "attempt": 0,
            "origin_run": None, "path": [frame[3] for frame in stack], "iteration": None, "foreach_stack": stack,
            "join": False, "inputs": [task.given() for task in inputs],
            "parameters": sorted(n for n in self.parameters.pickles if not n.startswith("_")),
            "parameters_task": {"run": "1", "task": "0", "artifacts": self.parameters.artifacts},
            "item": None, "num_inputs": len(inputs), "retries": 0, "timeout": 0, "env": {}, "username": "tester",
            "namespace": "user:tester", "tags": ["t1"], "project": None, "parallel": None, "next": following, **fields,
        }  # fmt: skip
        job["join"] = bool(job["join"])
        return self.run_job(job)

    def close(self) -> int | None:
        """End the zygote and return its exit code."""
        code = None
        if not self.isolated:
            self.control.close()
            code = self.process.wait(TIMEOUT)
        shutil.rmtree(self.folder, ignore_errors=True)
        return code


class _Frame:
    """Pickled by hand below, as Metaflow's class is not here."""


def _frame(*values: Any) -> tuple[Any, ...]:
    return values


def _dump_frames(frames: list[tuple[Any, ...]]) -> bytes:
    """A pickle of a list of __main__.ForeachFrame, in protocol 0 text opcodes."""
    parts = [b"(l"]
    for frame in frames:
        inner = pickle.dumps(tuple(frame), 0)[:-1]
        parts.append(b"c__main__\nForeachFrame\n" + inner + b"\x81a")
    return b"".join(parts) + b"."


def dump(value: Any) -> bytes:
    return pickle.dumps(value, 4)


def wait_until(condition: Any, what: str) -> None:
    deadline = time.monotonic() + TIMEOUT
    while not condition():
        assert time.monotonic() < deadline, f"waited in vain until {what}"
        time.sleep(0.01)


class FlowTest(unittest.TestCase):
    """A test that starts workers and ends them."""

    maxDiff = None

    def worker(self, source: str, **options: Any) -> Worker:
        worker = Worker(source, **options)
        self.addCleanup(worker.close)
        return worker
