"""Source files as syntax trees: finds the definitions of functions and classes, and the spans of nodes."""

from __future__ import annotations

import ast
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict, List, Optional, Tuple, Union

    from ._diagnostics import Files, Span

    Function = Union[ast.FunctionDef, ast.AsyncFunctionDef]

_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
_BLOCKS = ("body", "orelse", "finalbody", "handlers", "cases")


class SourceFile:
    """One file's tree and the definitions in it."""

    def __init__(self, path: str, lines: List[str]) -> None:
        self.path = path
        self.lines = lines
        #: Functions by the line of their first decorator or def.
        self.functions: Dict[int, Function] = {}
        #: Classes by their qualified name, in the order of the source.
        self.classes: Dict[str, List[ast.ClassDef]] = {}
        try:
            self._index(ast.parse("\n".join(lines)).body, "")
        except (SyntaxError, ValueError):
            self.functions.clear()

    def _index(self, body: List[ast.stmt], prefix: str) -> None:
        for node in body:
            if isinstance(node, _FUNCTIONS):
                first = min([node.lineno, *(d.lineno for d in node.decorator_list)])
                self.functions[first] = node
                self._index(node.body, f"{prefix}{node.name}.<locals>.")
            elif isinstance(node, ast.ClassDef):
                self.classes.setdefault(prefix + node.name, []).append(node)
                self._index(node.body, f"{prefix}{node.name}.")
            else:
                for block in _BLOCKS:
                    self._index(getattr(node, block, ()), prefix)

    def column(self, line: int, offset: int) -> int:
        """Turn an offset in UTF-8 bytes into a 1-based column in code points."""
        text = self.lines[line - 1] if line <= len(self.lines) else ""
        if text.isascii():
            return offset + 1
        return len(text.encode("utf-8")[:offset].decode("utf-8", "replace")) + 1


class Sources:
    """The source files of a flow."""

    def __init__(self, files: Files) -> None:
        self.files = files
        self._sources: Dict[str, SourceFile] = {}

    def file(self, path: str) -> SourceFile:
        """Return a file; one that cannot be read has no definitions."""
        if path not in self._sources:
            self._sources[path] = SourceFile(path, self.files.lines(path))
        return self._sources[path]

    def function(self, function: Any) -> Optional[Tuple[SourceFile, Function]]:
        """Return where a function is defined; None when its source is not there."""
        code = getattr(function, "__code__", None)
        if code is None:
            return None
        source = self.file(code.co_filename)
        node = source.functions.get(code.co_firstlineno)
        if node is None or node.name != code.co_name:
            return None
        return source, node

    def class_(self, cls: type) -> Optional[Tuple[SourceFile, ast.ClassDef]]:
        """Return where a class is defined; None when its source is not there."""
        module = sys.modules.get(cls.__module__)
        path = getattr(module, "__file__", None)
        if not path:
            return None
        source = self.file(path)
        nodes = source.classes.get(cls.__qualname__)
        return (source, nodes[-1]) if nodes else None

    def span(self, source: SourceFile, node: Any) -> Span:
        """Return the span of a node."""
        span: Span = {
            "file": self.files.name(source.path),
            "line": node.lineno,
            "col": source.column(node.lineno, node.col_offset),
        }
        if node.end_lineno is not None and not isinstance(node, (*_FUNCTIONS, ast.ClassDef)):
            span["end_line"] = node.end_lineno
            span["end_col"] = source.column(node.end_lineno, node.end_col_offset)
        return span


def assigned(node: ast.stmt) -> Dict[str, ast.expr]:
    """Return the names that a statement of a class body assigns, with the nodes of the names."""
    targets: List[Any] = []
    if isinstance(node, ast.Assign):
        targets = node.targets
    elif isinstance(node, (ast.AnnAssign, ast.AugAssign)):
        targets = [node.target]
    names: Dict[str, ast.expr] = {}
    for target in targets:
        for name in ast.walk(target):
            if isinstance(name, ast.Name):
                names[name.id] = name
    return names


def is_step(node: Any) -> bool:
    """Whether a function definition is decorated with @step."""
    for decorator in getattr(node, "decorator_list", ()):
        call = decorator.func if isinstance(decorator, ast.Call) else decorator
        if getattr(call, "id", getattr(call, "attr", "")) == "step":
            return True
    return False
