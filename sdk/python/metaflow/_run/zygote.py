"""The zygote: loads the flow once and forks a child for every task (docs/step-protocol.md, "Control socket").

Single-threaded by design: one select loop over the control socket and the pipe that SIGCHLD writes to.
"""

from __future__ import annotations

import gc
import os
import select
import signal
import socket
import sys
import time

from . import child, randomness
from .protocol import ControlChannel, ProtocolError, TaskChannel

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .protocol import Message

#: Seconds between SIGTERM and SIGKILL for tasks that are running when the runtime goes away.
GRACE_SECONDS = 5.0

_USAGE = "usage: mf_worker.py [--task] FLOW_FILE[:CLASS], with MF_PROTOCOL_FD in the environment"
_RSS_UNIT = 1 if sys.platform == "darwin" else 1024


class FlowSource:
    """Where the flow is, and the flow once it has been loaded."""

    def __init__(self, target: str) -> None:
        path, colon, name = target.rpartition(":")
        if not colon or not name.isidentifier() or os.path.exists(target):
            path, name = target, ""
        self.path = path
        self.class_name: str | None = name or None
        self.loaded: Any = None
        self.generators = randomness.Generators()

    def load(self, message: Message | None = None) -> Any:
        """Load the flow, the first time as `message` (a `describe`) says; return metaflow._describe's LoadedFlow."""
        if self.loaded is None:
            from metaflow._describe import LoadOptions, load

            asked = message or {}
            options = LoadOptions(
                with_specs=asked.get("with") or [],
                configs=asked.get("configs") or {},
                config_values=asked.get("config_values") or {},
                config_data=asked.get("config_data") or {},
                stubs=bool(asked.get("stubs")),
                evaluate=bool(asked.get("evaluate")),
            )
            self.generators.watch()
            self.loaded = load(self.path, asked.get("class") or self.class_name, options)
            self.generators.loaded()
        return self.loaded

    def describe(self, message: Message) -> Message:
        """Answer a `describe`."""
        loaded = self.load(message)
        flow = loaded.description() if loaded.cls is not None else None
        return {"op": "described", "flow": flow, "diagnostics": loaded.diagnostics, "python": sys.version}


class Zygote:
    """The loop between the runtime and the tasks' processes."""

    def __init__(self, source: FlowSource, sock: socket.socket) -> None:
        self._source = source
        self._control = ControlChannel(sock)
        self._children: dict[int, str] = {}
        self._wakeup_read, self._wakeup_write = os.pipe()
        os.set_blocking(self._wakeup_read, False)
        os.set_blocking(self._wakeup_write, False)
        self._users_handlers: dict[int, Any] = {}
        self._ready_to_fork = False
        self._quit = False

    def run(self) -> int:
        """Serve until the runtime says `quit` or closes the socket."""
        self._take_signals()
        while not (self._quit or self._control.closed):
            readable, _, _ = select.select([self._control, self._wakeup_read], [], [])
            if self._wakeup_read in readable:
                self._reap()
            if self._control in readable:
                for message in self._control.receive():
                    self._handle(message)
        self._end_children()
        return 0

    def _take_signals(self) -> None:
        """Have SIGCHLD wake the loop, and leave Ctrl-C at the terminal to the runtime."""
        for number in (signal.SIGCHLD, signal.SIGINT):
            previous = signal.signal(number, _do_nothing)
            if previous is not _do_nothing:
                self._users_handlers[number] = previous
        signal.set_wakeup_fd(self._wakeup_write, warn_on_full_buffer=False)

    def _handle(self, message: Message) -> None:
        op = message.get("op")
        try:
            if op == "fork":
                self._fork(str(message.get("id")))
            elif op == "describe":
                first = self._source.loaded is None
                self._control.send(self._source.describe(message))
                if first:
                    self._take_signals()  # the flow's imports may have taken them
            elif op == "load":
                # Answered first: what follows takes its time, and the runtime has use for the version meanwhile.
                self._control.send({"op": "loading", "python": sys.version})
                self._source.load(message)
                self._take_signals()
            elif op == "quit":
                self._quit = True
            else:
                raise ProtocolError(f"unknown operation {op!r}")
        except (ProtocolError, OSError) as error:
            self._control.send({"op": "error", "id": message.get("id"), "message": str(error)})

    def _fork(self, task: str) -> None:
        fds = self._control.take_fds(3)
        try:
            if not self._ready_to_fork:
                if self._source.loaded is None:
                    self._source.load()
                    self._take_signals()
                child.prepare()
                gc.freeze()
                self._ready_to_fork = True
            child.flush_streams()
            try:
                pid = os.fork()
            except OSError as error:
                os.write(fds[2], f"mf: no process could be started for the task: {error}\n".encode())
                self._control.send({"op": "forked", "id": task, "pid": 0})
                self._control.send(_exited(task, 0, code=1))
                return
            if pid == 0:
                self._become_child(fds)
        finally:
            for fd in fds:
                os.close(fd)
        try:
            os.setpgid(pid, pid)  # the child does the same; whoever is first
        except OSError:
            pass
        self._children[pid] = task
        self._control.send({"op": "forked", "id": task, "pid": pid})

    def _become_child(self, fds: list[int]) -> None:
        """Turn this process into the task's; never returns."""
        code = 1
        try:
            os.setpgid(0, 0)
            signal.set_wakeup_fd(-1)
            for number, handler in self._users_handlers.items():
                signal.signal(number, handler if handler is not None else signal.SIG_DFL)
            os.close(self._wakeup_read)
            os.close(self._wakeup_write)
            self._control.close()
            task, out, err = fds
            os.dup2(out, 1)
            os.dup2(err, 2)
            os.close(out)
            os.close(err)
            self._source.generators.forked()
            child.begin_forked()
            code = child.serve(self._source.loaded, TaskChannel(socket.socket(fileno=task)))
            code = child.finish(code)
        except BaseException:
            _print_own_failure()
        finally:
            os._exit(code)

    def _reap(self) -> None:
        """Report the children that have ended. Only our own: the flow may have started others while loading."""
        try:
            while os.read(self._wakeup_read, 4096):
                pass
        except BlockingIOError:
            pass
        for pid in list(self._children):
            ended, status, usage = os.wait4(pid, os.WNOHANG)
            if not ended:
                continue
            answer = _exited(
                self._children.pop(pid),
                pid,
                code=os.WEXITSTATUS(status) if os.WIFEXITED(status) else 0,
                signal_number=os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0,
            )
            answer["max_rss"] = usage.ru_maxrss * _RSS_UNIT
            answer["cpu"] = round(usage.ru_utime + usage.ru_stime, 6)
            self._control.send(answer)

    def _end_children(self) -> None:
        """SIGTERM, then SIGKILL for the process groups of the tasks that still run."""
        self._signal_children(signal.SIGTERM)
        deadline = time.monotonic() + GRACE_SECONDS
        while self._children:
            left = deadline - time.monotonic()
            if left <= 0:
                self._signal_children(signal.SIGKILL)
                return
            select.select([self._wakeup_read], [], [], left)
            self._reap()

    def _signal_children(self, number: int) -> None:
        for pid in self._children:
            try:
                os.killpg(pid, number)
            except OSError:
                pass


def _exited(task: str, pid: int, code: int = 0, signal_number: int = 0) -> Message:
    return {"op": "exited", "id": task, "pid": pid, "code": code, "signal": signal_number, "max_rss": 0, "cpu": 0.0}


def _do_nothing(_number: int, _frame: Any) -> None:
    """A handler rather than SIG_IGN: what the flow executes while loading must not inherit an ignored signal."""


def _print_own_failure() -> None:
    import traceback

    sys.stderr.write("mf: the task's process failed outside the step; this is a bug in mf\n")
    traceback.print_exc()
    child.flush_streams()


def main(argv: list[str]) -> int:
    """Run the zygote, or with `--task` one task; returns the exit code."""
    alone = argv[:1] == ["--task"]
    arguments = argv[1:] if alone else argv
    number = os.environ.pop("MF_PROTOCOL_FD", "")
    if len(arguments) != 1 or not number.isdigit():
        print(_USAGE, file=sys.stderr)
        return 2
    fd = int(number)
    os.set_inheritable(fd, False)
    sock = socket.socket(fileno=fd)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)  # a background process group that reads the terminal would be stopped
    os.close(null)
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(encoding="utf-8", errors="backslashreplace", line_buffering=True, write_through=False)
    source = FlowSource(arguments[0])
    if alone:
        return child.serve_alone(source, TaskChannel(sock))
    return Zygote(source, sock).run()
