"""Describes the decorators and mutators of a flow and of its steps."""

from __future__ import annotations

import ast

from ._apply import context
from ._data import function_name, without_empty
from ._stubs import stub_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Dict, List, Optional

    from ._diagnostics import Span
    from ._loader import LoadedFlow
    from ._source import Function, SourceFile, Sources

    Data = Dict[str, Any]

#: Flow decorators with attributes that may be functions called at deployment.
_DEPLOY_TIME = frozenset({"trigger", "trigger_on_finish"})


class DecoratorDescriber:
    """Describes decorators in the JSON form of Go's ir.Decorator; `data` turns values into JSON data."""

    def __init__(self, loaded: LoadedFlow, sources: Sources, data: Callable[[str, Span, Any], Any]) -> None:
        self._loaded = loaded
        self._found = loaded.found
        self._sources = sources
        self._data = data

    def of_flow(self) -> List[Data]:
        """Describe the flow's own decorators and mutators, outermost first."""
        spans: Dict[int, Span] = {}
        for base in self._loaded.cls.__mro__:
            found = self._sources.class_(base) if "_mf_own_decorators" in base.__dict__ else None
            if found is not None:
                spans.update(self._decorator_spans([*base._mf_own_decorators, *base._mf_own_mutators], *found))
        described = [self._decorator(d, spans) for d in reversed(self._loaded.decorators)]
        return described + [self._user_decorator(m, spans) for m in reversed(self._loaded.mutators)]

    def _decorator_spans(self, decorators: List[Any], source: SourceFile, node: Any) -> Dict[int, Span]:
        """Find the spans of decorators (innermost first), by their name and order; by id()."""
        nodes: List[Any] = list(node.decorator_list)
        spans: Dict[int, Span] = {}
        for decorator in reversed(decorators):
            own = getattr(decorator, "name", type(decorator).__name__)
            for candidate in nodes:
                call = candidate.func if isinstance(candidate, ast.Call) else candidate
                if decorator.origin == "" and getattr(call, "id", getattr(call, "attr", "")) == own:
                    spans[id(decorator)] = self._sources.span(source, candidate)
                    nodes.remove(candidate)
                    break
        return spans

    def of_step(self, function: Any, source: Optional[SourceFile], node: Optional[Function]) -> List[Data]:
        """Describe a step's decorators and mutators, outermost first."""
        users = [*function.wrappers, *function.config_decorators]
        spans: Dict[int, Span] = {}
        if source is not None:
            for own in (function.decorators, function.wrappers, function.config_decorators):
                spans.update(self._decorator_spans(own, source, node))
        described = [self._decorator(d, spans) for d in reversed(function.decorators)]
        described += [self._user_decorator(d, spans) for d in reversed(users)]
        # Stable: what was added by --with or a mutator has no place in the step and comes first, as the outermost.
        name = self._loaded.files.name(source.path) if source is not None else ""
        return sorted(described, key=lambda d: d["span"].get("line", 0) if d.get("span", {}).get("file") == name else 0)

    def _decorator(self, decorator: Any, spans: Dict[int, Span]) -> Data:
        span = spans.get(id(decorator)) or self._loaded.files.span(decorator.place)
        attributes = decorator.attributes
        if decorator.name in _DEPLOY_TIME and self._loaded.options.evaluate:
            attributes = self._evaluated(decorator, attributes)
        result: Data = {
            "name": decorator.name,
            "attributes": self._data(f"@{decorator.name}", span, attributes) or {},
            "origin": decorator.origin,
            "span": span,
        }
        if decorator.package:
            result["unknown"] = True
            self._found.add(
                "unknown-decorator",
                span,
                f"the decorator @{decorator.name} belongs to the extension package {decorator.package}, which mf does "
                "not have",
                "Remove the decorator, or run the flow with Metaflow and that package",
            )
        return without_empty(result)

    def _evaluated(self, decorator: Any, value: Any) -> Any:
        """Call the functions among a decorator's attributes."""
        if isinstance(value, dict):
            return {k: self._evaluated(decorator, v) for k, v in value.items()}
        if isinstance(value, (list, tuple)):
            return [self._evaluated(decorator, v) for v in value]
        if not callable(value) or isinstance(value, type) or stub_name(value):
            return value
        try:
            return value(context(self._loaded))
        except Exception as error:
            self._found.add(
                "decorator-attribute",
                self._loaded.files.span(decorator.place),
                f"the function {function_name(value)} of @{decorator.name} failed: {type(error).__name__}: {error}",
            )
            return None

    def _user_decorator(self, decorator: Any, spans: Dict[int, Span]) -> Data:
        span = spans.get(id(decorator)) or self._loaded.files.span(decorator.place if decorator.origin == "" else None)
        name = type(decorator).decorator_name
        attributes = self._data(f"@{name}", span, decorator.mf_attributes()) or {}
        return without_empty({"name": name, "attributes": attributes, "origin": decorator.origin, "span": span})
