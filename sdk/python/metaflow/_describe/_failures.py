"""Turns an exception that ended the loading of a flow file into a diagnostic."""

from __future__ import annotations

import os

from .. import _state
from .._state import Place
from ..exception import MetaflowException

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, List, Optional

    from ._loader import LoadedFlow


def report(
    loaded: LoadedFlow,
    error: BaseException,
    place: Optional[Place] = None,
    during: str = "the flow file was loaded",
) -> None:
    """Add the diagnostic for an exception of the user's code.

    `place` is where it is if the traceback does not say, `during` what was being done.
    """
    frames = _frames(loaded, error)
    if frames:
        place = frames[-1]
    found, files = loaded.found, loaded.files
    if isinstance(error, SyntaxError):
        _syntax_error(loaded, error)
    elif isinstance(error, _state.DefinitionError):
        found.add(error.code, files.span(error.place or place), error.summary, error.detail)
    elif isinstance(error, MetaflowException):
        found.add("flow-definition", files.span(place), error.message or str(error))
    elif isinstance(error, ImportError):
        found.add("import-error", files.span(place), _import_text(error), _import_hint(error))
    elif isinstance(error, SystemExit):
        found.add(
            "load-exit",
            files.span(place),
            f"the flow file ended the program (exit code {error.code!r}) while it was loaded",
            "Loading a flow executes its file: put what should not run then under if __name__ == '__main__':, "
            "after the flow's own call",
        )
    elif isinstance(error, NameError) and _decorator_error(loaded, error, place):
        pass
    else:
        text = str(error)
        summary = f"{type(error).__name__} while {during}" + (f": {text}" if text else "")
        found.add("load-exception", files.span(place), summary, _traceback(loaded, frames))


def _frames(loaded: LoadedFlow, error: BaseException) -> List[Place]:
    """Return the places of the user's code in the traceback, outermost first."""
    frames = []
    step = error.__traceback__
    while step is not None:
        path = step.tb_frame.f_code.co_filename
        if loaded.files.is_users(path):
            frames.append(Place(path, step.tb_lineno))
        step = step.tb_next
    return frames


def _traceback(loaded: LoadedFlow, frames: List[Place]) -> str:
    """Write the user's part of a traceback."""
    lines = []
    for place in frames:
        path, line = place.file, place.line
        source = loaded.files.lines(path)
        text = source[line - 1].strip() if line <= len(source) else ""
        lines.append(f"{loaded.files.name(path)}:{line}: {text}")
    return "Traceback, innermost call last:\n  " + "\n  ".join(lines) if lines else ""


def _syntax_error(loaded: LoadedFlow, error: SyntaxError) -> None:
    path = error.filename or loaded.path
    span: Any = {"file": loaded.files.name(os.path.abspath(path) if os.path.exists(path) else path)}
    if error.lineno:
        span["line"] = error.lineno
        if error.offset and error.offset > 0:
            span["col"] = error.offset
    loaded.found.add("syntax-error", span, error.msg or "invalid syntax")


def _import_text(error: ImportError) -> str:
    """Return the message without the path of the module, which differs between machines."""
    text, parenthesis, _ = str(error).partition(" (")
    return text if parenthesis and text.startswith("cannot import name") else str(error)


def _import_hint(error: ImportError) -> str:
    name = error.name or ""
    if name != "metaflow" or "cannot import name" not in str(error):
        if isinstance(error, ModuleNotFoundError) and name.partition(".")[0] != "metaflow":
            return "Install it for the Python that mf uses"
        return ""
    import metaflow

    wanted = str(error).partition("'")[2].partition("'")[0]
    near = _state.nearest(wanted, dir(metaflow))
    return f"Did you mean {near!r}?" if near else "Metaflow has no such name"


def _decorator_error(loaded: LoadedFlow, error: NameError, place: Optional[Place]) -> bool:
    """Report an unknown name that is used as a decorator; return False when it is not."""
    name = getattr(error, "name", None) or str(error).partition("'")[2].partition("'")[0]
    if place is None or not name:
        return False
    lines = loaded.files.lines(place.file)
    text = lines[place.line - 1].strip() if place.line <= len(lines) else ""
    if not text.startswith("@") or text[1:].lstrip().partition("(")[0].strip() != name:
        return False
    from .._decorator_table import FLOW_DECORATORS, STEP_DECORATORS
    from .._names import EXTENSION_DECORATORS

    known = ["step", *STEP_DECORATORS, *FLOW_DECORATORS]
    near = _state.nearest(name, known)
    if name in known:
        hint = f"Import it: from metaflow import {name}"
    elif name in EXTENSION_DECORATORS:
        hint = f"It belongs to the extension package {EXTENSION_DECORATORS[name]}, which mf does not have"
    else:
        hint = f"Did you mean @{near}?" if near else "Define it, or import it from where it is"
    loaded.found.add("unknown-decorator", loaded.files.span(place), f"the decorator @{name} is not defined", hint)
    return True
