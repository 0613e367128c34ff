"""The job `hook`: call a function of @exit_hook when a run has ended."""

from __future__ import annotations

import os
import sys

from metaflow.exception import MetaflowException

from .protocol import TaskChannel

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from .protocol import Message


def run(loaded: Any, channel: TaskChannel, job: Message) -> int:
    """Call the function and report; returns the exit code of the process."""
    os.environ.update(job.get("env") or {})
    exception = None
    try:
        _call(_function(loaded, job), str(job["pathspec"]))
    except BaseException as error:
        if not isinstance(error, SystemExit) or error.code not in (None, 0):
            from .failures import report

            exception = report(error, printed=True)
    channel.post({"op": "done", "ok": exception is None, "exception": exception})
    channel.flush()
    return 0 if exception is None else 1


def _function(loaded: Any, job: Message) -> Callable[..., Any]:
    """Return the function at the job's place: itself, or what its name says."""
    uses = [decorator for decorator in reversed(loaded.decorators) if decorator.name == "exit_hook"]
    hooks = uses[job["use"]].attributes["on_success" if job.get("success") else "on_error"]
    hook = hooks[job["index"]] if isinstance(hooks, (list, tuple)) else hooks
    return hook if callable(hook) else _named(loaded, str(hook))


def _named(loaded: Any, name: str) -> Any:
    """Find "module.function", or a function of the flow's file."""
    import importlib

    module, _, function = name.rpartition(".")
    if module:
        try:
            return getattr(importlib.import_module(module), function)
        except ModuleNotFoundError as error:
            if error.name is None or not (module + ".").startswith(error.name + "."):
                raise  # the module is there, but not what it imports
        except AttributeError:
            pass
    value: Any = loaded.module
    try:
        for part in name.split("."):
            value = getattr(value, part)
    except AttributeError:
        raise MetaflowException(
            f"there is no function '{name}' for @exit_hook, neither in a module nor in the flow's file"
        ) from None
    return value


def _call(function: Callable[..., Any], pathspec: str) -> None:
    """Call with the run where the function takes one; None stands for a run that is not on record."""
    import inspect

    parameters = inspect.signature(function).parameters
    if "run" not in parameters and all(p.kind is not p.VAR_KEYWORD for p in parameters.values()):
        function()
        return
    from .client import Run

    try:
        run: Any = Run(pathspec, _namespace_check=False)
    except Exception as error:
        print(f"the run {pathspec} cannot be read: {error}", file=sys.stderr)
        run = None
    function(run=run)
