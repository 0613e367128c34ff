"""The job `step`: run the body of a step and send what it made."""

from __future__ import annotations

import os
import signal
import sys
from _thread import get_ident
from types import FunctionType, MethodType

from metaflow.exception import MetaflowException
from metaflow.parameters import Parameter

from . import artifacts
from .current import current
from .inputs import Inputs
from .names import artifact_names
from .protocol import TaskChannel
from .task import Task

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .protocol import Message


def run(loaded: Any, channel: TaskChannel, job: Message) -> int:
    """Run the step and report; returns the exit code of the process."""
    os.environ.update(job.get("env") or {})
    flow = loaded.new_instance()
    task = Task(loaded, channel, job, flow)
    _bind_read_only(loaded.cls, job.get("parameters") or [])
    flow.__dict__["_mf_task"] = task
    current._set_job(job, task, loaded)
    owner = os.getpid()
    failure: BaseException | None = None
    try:
        _run_body(loaded, task, job)
    except BaseException as error:
        failure = error
    if os.getpid() != owner:
        _leave_forked_process(failure)
    exception = None
    if failure is not None:
        exception = _report(failure, task, job)
        failure.__traceback__ = None  # its frames hold the body's variables
    unstored = _send_artifacts(loaded, task, job)
    if exception is None and unstored is not None:
        exception = _report(unstored, task, job)
    if exception is None:
        channel.post({"op": "done", "ok": True, "transition": task.transition})
    else:
        channel.post({"op": "done", "ok": False, "exception": exception, "parameter": None})
    channel.flush()
    return 0 if exception is None else 1


def _bind_read_only(cls: Any, names: list[str]) -> None:
    """Make parameters, configs and constants properties of the class whose setting says why it is refused."""
    cls._mf_bind_read_only(names)
    for name in names:
        setattr(cls, name, vars(cls)[name].setter(_refusal(name)))


def _refusal(name: str) -> Any:
    def refuse(_flow: Any, _value: Any) -> None:
        raise AttributeError(
            f"self.{name} cannot be set: parameters, configs and class variables of a flow are the same in all of its "
            "steps; assign to another attribute"
        )

    return refuse


def _run_body(loaded: Any, task: Task, job: Message) -> None:
    alarm = _Alarm(task, job)
    arguments: list[Any] = [task.flow]
    if job.get("join"):
        arguments.append(Inputs(task))
    try:
        alarm.start()
        loaded.step_function(job["step"])(*arguments)
    finally:
        alarm.stop()
    task.check_transition()


class _Alarm:
    """@timeout: SIGALRM raises TimeoutException in the body, unless a frame is on its way on the socket."""

    def __init__(self, task: Task, job: Message) -> None:
        self._task = task
        self._seconds = float(job.get("timeout") or 0)
        self._due = False
        self._thread = get_ident()

    def start(self) -> None:
        if self._seconds > 0:
            self._task.channel.after_request = self._late
            signal.signal(signal.SIGALRM, self._ring)
            signal.setitimer(signal.ITIMER_REAL, self._seconds)

    def stop(self) -> None:
        if self._seconds > 0:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            self._task.channel.after_request = None

    def _ring(self, _number: int, _frame: Any) -> None:
        if self._task.channel.busy_thread == self._thread:
            self._due = True
        else:
            self._raise()

    def _late(self) -> None:
        if self._due and get_ident() == self._thread:
            self._due = False
            self._raise()

    def _raise(self) -> None:
        from metaflow.plugins.timeout_decorator import TimeoutException

        raise TimeoutException(f"step '{self._task.step}' timed out after {self._seconds:g} seconds (@timeout)")


def _leave_forked_process(failure: BaseException | None) -> None:
    """End a process that the body forked and that came back here; the task belongs to its parent."""
    if failure is not None and not isinstance(failure, SystemExit):
        from .failures import report

        report(failure)
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(0 if failure is None else 1)


def _report(error: BaseException, task: Task, job: Message) -> dict[str, Any]:
    from .failures import report

    note = ""
    if isinstance(error, SystemExit):
        note = f"mf: step '{task.step}' ended by sys.exit(); a step succeeds only by returning\n"
    return report(error, note, job.get("print_failure", True))


def _send_artifacts(loaded: Any, task: Task, job: Message) -> BaseException | None:
    """Post what the body made or changed; returns the first failure to do so."""
    writer = artifacts.Writer(task.channel, job.get("tempdir") or ".", int(job.get("inline_max") or 262144))
    failure: BaseException | None = None
    task.note_changed_items()
    held = task.flow.__dict__
    for name in artifact_names(loaded.cls, task.flow):
        try:
            _send_artifact(writer, task, name)
        except OSError as error:
            failure = failure or MetaflowException(f"artifact 'self.{name}' could not be written: {error}")
        except Exception as error:
            failure = failure or error
        held.pop(name, None)  # frees a large value before the next one is pickled
        task.loaded.pop(name, None)
    task.send_references()
    return failure


def _send_artifact(writer: artifacts.Writer, task: Task, name: str) -> None:
    value = getattr(task.flow, name)
    if isinstance(value, (MethodType, FunctionType, Parameter)):
        return
    known: str | None = None
    if name in task.loaded:
        known = task.digests.get(name)
        if value is task.loaded[name] and artifacts.unchangeable(value):
            return
    if writer.put(name, value, known):
        task.merged.pop(name, None)
