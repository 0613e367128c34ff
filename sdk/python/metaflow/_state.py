"""Where the SDK is in its life: being authored, being loaded by mf, or running a task.

A definition that is wrong raises when a plain ``python`` executes the flow file; while mf loads it, the mistake is
recorded with its place instead, so that all of them are reported and not the first alone.
"""

from __future__ import annotations

import os
import sys

from .exception import MetaflowException

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import CodeType
    from typing import Dict, Iterator, List, NoReturn, Optional, Protocol, Tuple, Union

    class Loader(Protocol):
        """What loads a flow file: see metaflow._describe."""

        def record(self, error: DefinitionError) -> None:
            """Keep a mistake; the file goes on being executed."""

        def found(self, cls: type) -> NoReturn:
            """End the loading: this class was asked to enter the command line."""


#: Folder of the SDK with a trailing separator; frames below it are not the user's.
SDK_FOLDER = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep

#: The loader at work, None otherwise.
loader: Optional[Loader] = None

#: Set once a loader has been at work: the process belongs to mf, and FlowSpec() must not start the command line.
embedded = False


class Place:
    """A line of a file. The line of a running frame is found when it is asked for: for Python that is a search from the
    start of the code, which adds up where a class has ten thousand steps."""

    __slots__ = ("_code", "_line", "_offset", "file")

    def __init__(self, file: str, line: int = 0, code: Optional[CodeType] = None, offset: int = 0) -> None:
        self.file = file
        self._line = line
        self._code = code
        self._offset = offset

    @property
    def line(self) -> int:
        """The line, from 1; 0 when only the file is known."""
        if self._code is not None:
            self._line = _line_at(self._code, self._offset)
            self._code = None
        return self._line

    def __iter__(self) -> Iterator[Union[str, int]]:
        return iter((self.file, self.line))


#: Offsets at which lines start, and these lines, of code that was asked for.
_starts: Dict[CodeType, Tuple[List[int], List[int]]] = {}


def _line_at(code: CodeType, offset: int) -> int:
    from bisect import bisect_right

    if code not in _starts:
        from dis import findlinestarts

        pairs = [(start, line) for start, line in findlinestarts(code) if line]
        _starts[code] = [start for start, _ in pairs], [line for _, line in pairs]
    offsets, lines = _starts[code]
    return lines[max(bisect_right(offsets, offset) - 1, 0)] if lines else code.co_firstlineno


class DefinitionError(MetaflowException):
    """A mistake in how a flow is written, found while its file is executed."""

    headline = "Flow definition"

    def __init__(
        self,
        code: str,
        message: str,
        detail: str = "",
        place: Optional[Place] = None,
        decorator: str = "",
        beyond: Optional[Place] = None,
    ) -> None:
        super().__init__(message + (". " + detail if detail else ""))
        self.code = code
        self.summary = message
        self.detail = detail
        self.place = place or caller()
        #: Name of the decorator that the mistake is about, where `place` may be that of what it decorates.
        self.decorator = decorator
        #: Place of another decorator of that name, below which it is not.
        self.beyond = beyond


def caller() -> Optional[Place]:
    """Return the place of the innermost frame that is not the SDK's."""
    frame = sys._getframe(1)
    while frame is not None:
        name = frame.f_code.co_filename
        if not name.startswith(SDK_FOLDER) and not name.startswith("<frozen"):
            return Place(name, code=frame.f_code, offset=frame.f_lasti)
        frame = frame.f_back
    return None


def report(error: DefinitionError) -> None:
    """Record the mistake while a loader is at work, else raise it."""
    if loader is None:
        raise error
    loader.record(error)


def nearest(name: str, known: List[str]) -> str:
    """Return the known name that `name` was probably meant to be, or an empty text."""
    import difflib

    found = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    return found[0] if found else ""
