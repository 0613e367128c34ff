"""What went wrong: exceptions of the running half, and how a failure is printed and reported.

Imported only when something fails.
"""

from __future__ import annotations

import os
import sys
import traceback

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_SDK = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
_WORKER = os.path.join(_SDK, "mf_worker.py")
_PACKAGE = os.path.join(_SDK, "metaflow") + os.sep


def is_sdk_file(name: str) -> bool:
    """Whether a frame's file is part of the SDK."""
    return name.startswith(_PACKAGE) or name == _WORKER or name.startswith("<frozen runpy")


def format_exception(error: BaseException) -> str:
    """Format an exception and its causes like the interpreter does, without the SDK's own frames."""
    summary = traceback.TracebackException(type(error), error, error.__traceback__)
    _trim(summary, set())
    return "".join(summary.format())


def _trim(summary: Any, seen: set) -> None:
    if summary is None or id(summary) in seen:
        return
    seen.add(id(summary))
    kept = [frame for frame in summary.stack if not is_sdk_file(frame.filename)]
    if kept or is_sdk_error(summary):
        summary.stack = traceback.StackSummary.from_list(kept)
    for field in ("__cause__", "__context__"):
        earlier = getattr(summary, field)
        _trim(earlier, seen)
        if earlier is not None and all(is_sdk_file(frame.filename) for frame in earlier.stack):
            setattr(summary, field, None)  # the later one was made of it and says what there is to say
    for member in getattr(summary, "exceptions", None) or ():
        _trim(member, seen)


def is_sdk_error(summary: Any) -> bool:
    """Whether the exception is one that the SDK raises on purpose: its message says it all, without any frame."""
    kind: type | None = getattr(summary, "exc_type", None)
    module = getattr(kind, "__module__", None) or str(getattr(summary, "exc_type_str", "")).rpartition(".")[0]
    return module == "metaflow" or module.startswith("metaflow.")


def describe(error: BaseException, text: str) -> dict[str, Any]:
    """Return the `exception` object of a `done` message; `text` is the traceback."""
    kind = type(error)
    try:
        message = str(error)
    except Exception as second:
        message = f"<its str() raised {type(second).__name__}>"
    return {
        "type": f"{kind.__module__}.{kind.__name__}",
        "message": message,
        "traceback": text,
        "timeout": kind.__name__ == "TimeoutException" and kind.__module__ == "metaflow.plugins.timeout_decorator",
    }


def report(error: BaseException, note: str = "", printed: bool = True) -> dict[str, Any]:
    """Print an exception on stderr, unless told otherwise, and return its description."""
    text = format_exception(error)
    if not printed:
        return describe(error, text + note)
    try:
        sys.stdout.flush()
        sys.stderr.write(text + note)
        sys.stderr.flush()
    except (OSError, ValueError, AttributeError):
        pass
    return describe(error, text)


def report_load_failure(channel: Any, loaded: Any) -> int:
    """Report that the flow file could not be loaded; returns the exit code."""
    error = loaded.error
    if error is None:
        lines: list[str] = ["{}".format(found.get("summary")) for found in loaded.diagnostics]
        error = RuntimeError("the flow could not be loaded: %s" % ("; ".join(lines) or "no flow in the file"))
    channel.post({"op": "done", "ok": False, "exception": report(error), "parameter": None})
    channel.flush()
    return 1
