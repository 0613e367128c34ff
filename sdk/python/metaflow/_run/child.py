"""A task's process: receives one job, runs it, answers `done`, and ends the way an interpreter ends."""

from __future__ import annotations

import gc
import os
import sys

from .protocol import ProtocolError, TaskChannel

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def prepare() -> None:
    """Import in the zygote what its children will need, so that none of them has to."""
    from . import artifacts, init_job, step_job  # noqa: F401


def serve(loaded: Any, channel: TaskChannel) -> int:
    """Receive the job, do it and report; returns the exit code of the process."""
    try:
        job, _ = channel.receive()
        return _do(loaded, channel, job)
    except (EOFError, ConnectionError):
        return 1  # the runtime is gone, and with it everyone who could be told


def serve_alone(source: Any, channel: TaskChannel) -> int:
    """The same for a process of its own (`--task`), which may be asked for a description first."""
    try:
        job, _ = channel.receive()
        while job.get("op") == "describe":
            channel.post(source.describe(job))
            channel.flush()
            job, _ = channel.receive()
        return _do(source.load(), channel, job)
    except (EOFError, ConnectionError):
        return 1


def _do(loaded: Any, channel: TaskChannel, job: Any) -> int:
    from . import init_job, step_job

    if loaded.cls is None:
        from .failures import report_load_failure

        return report_load_failure(channel, loaded)
    channel.guard_forks()
    op = job.get("op")
    if op == "step":
        return step_job.run(loaded, channel, job)
    if op == "init":
        return init_job.run(loaded, channel, job)
    if op == "hook":
        from . import hook_job

        return hook_job.run(loaded, channel, job)
    raise ProtocolError(f"unknown job {op!r}")


def finish(code: int) -> int:
    """Do what an interpreter does at its end, for a forked child that leaves by os._exit.

    Threads that are not daemons are awaited; exit functions run, but only those registered since the fork: the ones
    registered while the flow was loaded belong to the zygote.
    """
    modules = sys.modules
    try:
        if "threading" in modules:
            modules["threading"]._shutdown()
        import atexit

        atexit._run_exitfuncs()
        if "multiprocessing.util" in modules:
            modules["multiprocessing.util"]._exit_function()
        if "logging" in modules:
            modules["logging"].shutdown()
    except BaseException as error:
        sys.stderr.write(f"mf: an exit function failed: {type(error).__name__}: {error}\n")
    flush_streams()
    return code


def leave_exit_functions_to_the_zygote() -> None:
    """Forget, in a forked child, the exit functions of the process it came from."""
    import atexit

    atexit._clear()
    weakref = sys.modules.get("weakref")
    finalize = getattr(weakref, "finalize", None)
    if finalize is not None:
        for info in list(getattr(finalize, "_registry", {}).values()):
            info.atexit = False
        finalize._registered_with_atexit = False


def flush_streams() -> None:
    """Write out what stdout and stderr still hold."""
    for stream in (sys.stdout, sys.__stdout__, sys.stderr, sys.__stderr__):
        try:
            stream.flush()
        except (AttributeError, OSError, ValueError):
            pass


def begin_forked() -> None:
    """Set up the interpreter of a child right after the fork."""
    leave_exit_functions_to_the_zygote()
    gc.enable()


def is_own_process(owner: int) -> bool:
    """Whether this is process `owner`, rather than one that the step body forked and let return."""
    return os.getpid() == owner
