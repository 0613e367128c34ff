"""Reads the body of a step: which artifacts it reads and writes, and where it calls self.next."""

from __future__ import annotations

import ast

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict, List, Set, Tuple

    from ._diagnostics import Span
    from ._source import Function, SourceFile, Sources

#: What FlowSpec itself offers; no artifacts.
_INTERFACE = frozenset({"cmd", "foreach_stack", "index", "input", "merge_artifacts", "name", "next", "script_name"})
#: Functions that may be handed self without learning more of it than its type or identity.
_HARMLESS = frozenset({"hash", "id", "isinstance", "print", "repr", "str", "type"})
_GUARDS = frozenset({"AttributeError", "Exception", "BaseException"})
_NESTED = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda, ast.GeneratorExp)


class Body:
    """What the body of a step, and the methods it calls on self, were seen to do."""

    def __init__(self, cls: type, sources: Sources) -> None:
        self._cls = cls
        self._sources = sources
        self.reads: Dict[str, Span] = {}
        self.writes: Dict[str, Span] = {}
        #: Names whose absence the body handles itself (hasattr, try).
        self.guarded: Set[str] = set()
        #: Whether it may write artifacts that could not be seen.
        self.writes_unknown = False
        #: Calls of self.next in the step itself.
        self.next_calls: List[ast.Call] = []
        #: Calls of self.next in methods that the step calls.
        self.far_next_calls: List[Tuple[SourceFile, ast.Call]] = []
        self.yields = False
        self._followed: Set[Any] = set()

    def scan(self, source: SourceFile, node: Function) -> None:
        """Read the step's function."""
        scan = _Scan(self, source, node, far=False)
        for statement in node.body:
            scan.visit(statement)

    def follow(self, name: str) -> bool:
        """Read a method or property called on self; return False when `name` is none, but an artifact."""
        value = None
        for base in self._cls.__mro__:
            if name in vars(base):
                value = vars(base)[name]
                break
        else:
            return False
        if isinstance(value, property):
            value = value.fget
        if not callable(value) and not isinstance(value, (classmethod, staticmethod)):
            return False
        if getattr(value, "is_step", False) or not hasattr(value, "__code__") or value in self._followed:
            return True
        self._followed.add(value)
        found = self._sources.function(value)
        if found is None:
            self.writes_unknown = True
            return True
        source, node = found
        scan = _Scan(self, source, node, far=True)
        for statement in node.body:
            scan.visit(statement)
        return True


class _Scan:
    """Walks one function."""

    def __init__(self, body: Body, source: SourceFile, node: Function, far: bool) -> None:
        self._body = body
        self._source = source
        self._far = far
        arguments = [*node.args.posonlyargs, *node.args.args]
        self._self = arguments[0].arg if arguments else ""
        self._depth = 0
        self._visitors = {
            ast.Attribute: self._attribute,
            ast.AugAssign: self._augmented,
            ast.Call: self._call,
            ast.Name: self._name,
            ast.Subscript: self._subscript,
            ast.Try: self._try,
            ast.Yield: self._yield,
            ast.YieldFrom: self._yield,
        }

    def visit(self, node: Any) -> None:
        visitor = self._visitors.get(type(node))
        if visitor is not None:
            visitor(node)
        elif isinstance(node, _NESTED):
            self._depth += 1
            self._children(node)
            self._depth -= 1
        else:
            self._children(node)

    def _children(self, node: Any) -> None:
        for child in ast.iter_child_nodes(node):
            self.visit(child)

    def _is_self(self, node: Any) -> bool:
        return type(node) is ast.Name and node.id == self._self

    def _note(self, where: Dict[str, Span], name: str, node: Any) -> None:
        if name not in where and not (name.startswith("__") and name.endswith("__")):
            where[name] = self._body._sources.span(self._source, node)

    def _yield(self, node: Any) -> None:
        if self._depth == 0 and not self._far:
            self._body.yields = True
        self._children(node)

    def _name(self, node: ast.Name) -> None:
        # self goes somewhere: what happens to it there cannot be seen.
        if self._is_self(node):
            self._body.writes_unknown = True

    def _attribute(self, node: ast.Attribute) -> None:
        if not self._is_self(node.value):
            self._children(node)
        elif isinstance(node.ctx, ast.Store):
            self._note(self._body.writes, node.attr, node)
        elif node.attr == "__dict__":
            self._body.writes_unknown = True
        elif isinstance(node.ctx, ast.Load) and node.attr not in _INTERFACE and not self._body.follow(node.attr):
            self._note(self._body.reads, node.attr, node)

    def _augmented(self, node: ast.AugAssign) -> None:
        target = node.target
        if isinstance(target, ast.Attribute) and self._is_self(target.value):
            self._note(self._body.reads, target.attr, target)
        self._children(node)

    def _subscript(self, node: ast.Subscript) -> None:
        value = node.value
        if isinstance(node.ctx, ast.Store) and isinstance(value, ast.Attribute) and self._is_self(value.value):
            self._note(self._body.writes, value.attr, value)
        self._children(node)

    def _try(self, node: ast.Try) -> None:
        before = set(self._body.reads)
        for statement in node.body:
            self.visit(statement)
        for handler in node.handlers:
            names = {getattr(n, "id", "") for n in ast.walk(handler.type)} if handler.type else _GUARDS
            if names & _GUARDS:
                self._body.guarded |= set(self._body.reads) - before
        for block in (node.handlers, node.orelse, node.finalbody):
            for statement in block:
                self.visit(statement)

    def _call(self, node: ast.Call) -> None:
        function = node.func
        if isinstance(function, ast.Attribute) and self._is_self(function.value):
            if function.attr == "next":
                if self._far:
                    self._body.far_next_calls.append((self._source, node))
                else:
                    self._body.next_calls.append(node)
                return
            if function.attr == "merge_artifacts":
                self._body.writes_unknown = True
        elif isinstance(function, ast.Name) and node.args and self._is_self(node.args[0]):
            if self._on_self(function.id, node):
                for argument in node.args[1:]:
                    self.visit(argument)
                return
        elif isinstance(function, ast.Name) and function.id == "super":
            self._body.writes_unknown = True
            return
        self._children(node)

    def _on_self(self, function: str, node: ast.Call) -> bool:
        """Handle a builtin called on self; return False when it is none of those known."""
        if function in _HARMLESS:
            return True
        second = node.args[1] if len(node.args) > 1 else None
        name = second.value if isinstance(second, ast.Constant) and isinstance(second.value, str) else None
        if function in ("getattr", "hasattr", "delattr"):
            if name is not None and function == "getattr" and len(node.args) == 2:
                self._note(self._body.reads, name, node)
            elif name is not None:
                self._body.guarded.add(name)
            return True
        if function == "setattr":
            if name is None:
                self._body.writes_unknown = True
            else:
                self._note(self._body.writes, name, node)
            return True
        return False
