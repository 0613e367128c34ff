"""Diagnostics in the JSON form of Go's diag.Diagnostic, and where in which file they are."""

from __future__ import annotations

import os
import sys

from .._state import SDK_FOLDER, Place

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict, List, Optional, Tuple

    Span = Dict[str, Any]


class Files:
    """Names files as the user knows them: relative to the folder of the flow file, with slashes."""

    def __init__(self, path: str) -> None:
        self.folder = os.path.dirname(os.path.abspath(path)) + os.sep
        self._lines: Dict[str, List[str]] = {}
        #: Names of files outside the folder.
        self._outside: Dict[str, str] = {}

    def name(self, path: str) -> str:
        """Return the name of a file; one outside the flow's folder is named by its module, ``<pkg.mod>``."""
        if path.startswith(self.folder):
            return path[len(self.folder) :].replace(os.sep, "/")
        if path not in self._outside:
            self._outside[path] = path if path.startswith("<") else f"<{os.path.basename(path)}>"
            for name, module in list(sys.modules.items()):
                if getattr(module, "__file__", None) == path and name != "__main__":
                    self._outside[path] = f"<{name}>"
                    break
        return self._outside[path]

    def is_users(self, path: str) -> bool:
        """Whether the file is the user's own code: neither Python's nor the SDK's nor an installed package's."""
        if path.startswith(self.folder):
            return True
        if path.startswith("<") or path.startswith(SDK_FOLDER):
            return False
        parts = path.replace(os.sep, "/")
        return "/site-packages/" not in parts and "/dist-packages/" not in parts and not path.startswith(_LIBRARY)

    def lines(self, path: str) -> List[str]:
        """Return the lines of a source file; none when it cannot be read."""
        if path not in self._lines:
            try:
                with open(path, "rb") as file:
                    self._lines[path] = decode(file.read())
            except (OSError, ValueError, SyntaxError):
                self._lines[path] = []
        return self._lines[path]

    def decorator_place(self, place: Optional[Place], name: str, beyond: Optional[Place] = None) -> Optional[Place]:
        """Return the place of a decorator, where `place` may be that of the def or class below it.

        Before Python 3.11 a decorator without parentheses is called on the line of what it decorates.
        """
        if place is None or not place.file:
            return place
        path, line = place.file, place.line
        lines = self.lines(path)
        if line > len(lines) or lines[line - 1].lstrip().startswith("@"):
            return place
        if beyond is not None and beyond.file == path:
            line = min(line, beyond.line)
        for above in range(line - 1, 0, -1):
            text = lines[above - 1].strip()
            if text.startswith("@") and text[1:].partition("(")[0].strip().rpartition(".")[2] == name:
                return Place(path, above)
            if text.startswith(("def ", "class ", "async def ")):
                break
        return place

    def span(self, place: Optional[Place]) -> Span:
        """Return the span of a line: it starts behind blanks and the @ of a decorator."""
        if place is None or not place.file:
            return {}
        path, line = place.file, place.line
        span: Span = {"file": self.name(path)}
        if line > 0:
            lines = self.lines(path)
            text = lines[line - 1] if line <= len(lines) else ""
            blank = len(text) - len(text.lstrip())
            col = blank + 1 + (1 if text[blank : blank + 1] == "@" else 0)
            span.update(line=line, col=col)
        return span


#: Folder of Python's own library.
_LIBRARY = os.path.dirname(os.__file__) + os.sep


def decode(source: bytes) -> List[str]:
    """Decode a source file into its lines, as Python does. Raises SyntaxError or ValueError."""
    try:
        text = source.decode("utf-8-sig")
    except UnicodeDecodeError:
        import io
        import tokenize

        text = source.decode(tokenize.detect_encoding(io.BytesIO(source).readline)[0])
    return text.replace("\r\n", "\n").replace("\r", "\n").split("\n")


class Diagnostics:
    """The findings about one flow, each once."""

    def __init__(self) -> None:
        self.items: List[Dict[str, Any]] = []

    def add(
        self,
        code: str,
        span: Span,
        summary: str,
        detail: str = "",
        severity: str = "error",
        notes: Optional[List[Tuple[Span, str]]] = None,
    ) -> None:
        """Add a finding."""
        item: Dict[str, Any] = {"severity": severity, "code": code, "span": span, "summary": summary}
        if detail:
            item["detail"] = detail
        if notes:
            item["notes"] = [{"span": where, "message": message} for where, message in notes]
        if item not in self.items:
            self.items.append(item)

    @property
    def has_errors(self) -> bool:
        """Whether any finding is an error."""
        return any(item["severity"] == "error" for item in self.items)
