"""Describes a loaded flow in the JSON form of Go's ir.Flow."""

from __future__ import annotations

import ast
import json
import os

from .._state import Place
from ..exception import MetaflowException, ParameterFieldFailed
from ._apply import context
from ._body import Body
from ._data import StubReached, function_name, is_plain, to_data, without_empty
from ._decorators import DecoratorDescriber
from ._failures import report
from ._source import Sources, assigned, is_step
from ._stubs import stub_name
from ._transition import TransitionReader

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict, Optional

    from ._diagnostics import Span
    from ._loader import LoadedFlow
    from ._source import Function, SourceFile

    Data = Dict[str, Any]

#: Version of the JSON form; as ir.Version.
VERSION = 1


class Describer:
    """Describes one flow; findings are added to the flow's diagnostics."""

    def __init__(self, loaded: LoadedFlow) -> None:
        self._loaded = loaded
        self._found = loaded.found
        self._sources = Sources(loaded.files)
        self._decorators = DecoratorDescriber(loaded, self._sources, self._data)
        #: Span of each class attribute.
        self._spans: Dict[str, Span] = {}

    def describe(self) -> Data:
        """Return the description."""
        loaded = self._loaded
        self._read_classes()
        flow: Data = {
            "version": VERSION,
            "name": loaded.cls.__name__,
            "doc": clean_doc(loaded.cls.__dict__.get("__doc__")),
            "source": {"language": "python", "file": os.path.basename(loaded.path), "class": loaded.cls.__name__},
            "span": self._class_span(),
            "parameters": [self._parameter(n, p) for n, p in loaded.parameters.items()],
            "configs": [self._config(n, c) for n, c in loaded.config_objects.items()],
            "constants": [self._constant(n, v) for n, v in loaded.constants.items()],
            "decorators": self._decorators.of_flow(),
            "steps": [self._step(n, f) for n, f in loaded.steps.items()],
        }
        return without_empty(flow, keep=("name", "steps"))

    def transition(self, name: str) -> Optional[Data]:
        """Return the transition of one step as it is written; None for the end step."""
        function = self._loaded.steps[name]
        found = self._sources.function(function)
        if found is None:
            return None
        source, node = found
        body = Body(self._loaded.cls, self._sources)
        body.scan(source, node)
        return self._transition(name, source, node, body)

    # Classes

    def _class_span(self) -> Span:
        found = self._sources.class_(self._loaded.cls)
        return self._sources.span(*found) if found else {}

    def _read_classes(self) -> None:
        """Find the spans of class attributes, and steps that a later definition in the same class hides."""
        for base in reversed(self._loaded.cls.__mro__):
            found = self._sources.class_(base)
            if found is None:
                continue
            source, node = found
            defined: Dict[str, ast.stmt] = {}
            for statement in node.body:
                if isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef)):
                    self._check_hidden(source, defined, statement.name, statement)
                    defined[statement.name] = statement
                for name, target in assigned(statement).items():
                    self._spans[name] = self._sources.span(source, target)
                    self._check_hidden(source, defined, name, statement)
                    defined[name] = statement

    def _check_hidden(self, source: SourceFile, defined: Dict[str, ast.stmt], name: str, node: ast.stmt) -> None:
        first = defined.get(name)
        if first is not None and (is_step(first) or is_step(node)):
            self._found.add(
                "duplicate-step",
                self._sources.span(source, node),
                f"step {name!r} is defined twice in one class, so that the first definition is lost",
                "Rename one of the two",
                notes=[(self._sources.span(source, first), "the first definition")],
            )

    def _span_of(self, name: str, place: Any) -> Span:
        return self._spans.get(name) or self._loaded.files.span(place)

    # Parameters, configs, constants

    def _data(self, what: str, span: Span, value: Any) -> Any:
        """Return JSON data; a value of a missing module is reported."""
        try:
            return to_data(value)
        except StubReached as error:
            self._found.add(
                "stub-value",
                span,
                f"{what} needs {error.name} of a module that is not installed here",
                "Install the module where the flow is compiled",
            )
            return None

    def _parameter(self, variable: str, parameter: Any) -> Data:
        span = self._span_of(variable, parameter.place)
        what = f"parameter {parameter.name!r}"
        kind = parameter.kind
        if not kind:
            if not stub_name(parameter.type):
                self._found.add(
                    "parameter-type",
                    span,
                    f"{what} has the type {function_name(parameter.type)}, which a parameter cannot have",
                    "The types are str, int, float, bool and JSONType",
                )
            self._data(what, span, parameter.type)
            kind = "string"
        result: Data = {
            "name": variable,
            "option": self._data(what, span, parameter.name),
            "type": kind,
            "required": bool(parameter.required) and parameter.default is None,
            "help": str(self._data(what, span, parameter.help) or ""),
            "separator": self._data(what, span, parameter.separator) or "",
            "hide_default": parameter.show_default is False,
            "span": span,
        }
        if callable(parameter.default):
            self._data(what, span, parameter.default)
            result["default_func"] = function_name(parameter.default)
        if kind == "file":
            result["binary"] = parameter.is_text is False
            result["encoding"] = parameter.encoding or ""
            if parameter.parser is not None:
                result["parser"] = _named(parameter.parser)
        self._default(result, what, span, parameter)
        return without_empty(result)

    def _default(self, result: Data, what: str, span: Span, parameter: Any) -> None:
        if parameter.default is None or stub_name(parameter.default):
            self._data(what, span, parameter.default)
            return
        if callable(parameter.default) and not self._loaded.options.evaluate:
            return
        try:
            value = parameter.unsplit_default(context(self._loaded))
        except ParameterFieldFailed as error:
            report(self._loaded, error.__cause__ or error, parameter.place, f"the default of {what} was computed")
            return
        except MetaflowException as error:
            self._found.add("parameter-default", span, error.message)
            return
        data = self._data(what, span, value)
        try:
            json.dumps(value, allow_nan=False)
        except (TypeError, ValueError):
            if not stub_name(value):
                text = function_name(type(value))
                self._found.add("parameter-default", span, f"the default of {what} cannot be said in JSON: a {text}")
            return
        if data is not None:
            result["default"] = data

    def _config(self, variable: str, config: Any) -> Data:
        span = self._span_of(variable, config.place)
        what = f"config {config.name!r}"
        result: Data = {
            "name": variable,
            "option": config.name,
            "default_file": config.default if isinstance(config.default, str) else "",
            "required": bool(config.required),
            "plain": bool(config.plain),
            "parser": _named(config.parser) if config.parser is not None else "",
            "help": config.help or "",
            "span": span,
        }
        value = self._loaded.configs.get(variable)
        if value is not None:
            result["value"] = self._data(what, span, value)
        return without_empty(result)

    def _constant(self, variable: str, value: Any) -> Data:
        span = self._spans.get(variable, {})
        if stub_name(value):
            self._data(f"the class attribute {variable!r}", span, value)
        result: Data = {"name": variable, "type": str(type(value)), "span": span}
        if is_plain(value) and not stub_name(value):
            result["value"] = self._data(f"the class attribute {variable!r}", span, value)
        return without_empty(result)

    # Steps

    def _step(self, name: str, function: Any) -> Data:
        step: Data = {
            "name": name,
            "doc": clean_doc(function.__doc__),
            "marked_start": function.mf_start,
            "marked_end": function.mf_end,
        }
        found = self._sources.function(function)
        if found is None:
            place = Place(function.__code__.co_filename, function.__code__.co_firstlineno)
            step["span"] = self._loaded.files.span(place)
            step["decorators"] = self._decorators.of_step(function, None, None)
            step["writes_unknown"] = True
            self._found.add(
                "source-missing",
                step["span"],
                f"the source of step {name!r} cannot be found, so its transition is not known",
                "A step has to be a method written in a file",
            )
            return without_empty(step)
        source, node = found
        step["span"] = self._sources.span(source, node)
        step["decorators"] = self._decorators.of_step(function, source, node)
        step["join"] = self._is_join(name, source, node)
        body = Body(self._loaded.cls, self._sources)
        body.scan(source, node)
        self._check_body(name, source, node, body)
        step["next"] = self._transition(name, source, node, body)
        step["reads"] = [{"name": n, "span": s} for n, s in body.reads.items() if n not in body.guarded]
        step["writes"] = [{"name": n, "span": s} for n, s in body.writes.items()]
        step["writes_unknown"] = body.writes_unknown
        return without_empty(step)

    def _is_join(self, name: str, source: SourceFile, node: Function) -> bool:
        count = len(node.args.posonlyargs) + len(node.args.args)
        if count == 0 or count > 2:
            problem = "has no 'self'" if count == 0 else f"takes {count} arguments"
            self._found.add(
                "step-arguments",
                self._sources.span(source, node),
                f"step {name!r} {problem}",
                "A step takes self; a join takes self and inputs",
            )
        return count == 2

    def _check_body(self, name: str, source: SourceFile, node: Function, body: Body) -> None:
        kind = (
            "async" if isinstance(node, ast.AsyncFunctionDef) else "a generator (it has yield)" if body.yields else ""
        )
        if kind:
            self._found.add(
                "step-kind",
                self._sources.span(source, node),
                f"step {name!r} is {kind}, so that its body would never run",
                "A step is a plain method",
            )
        for far_source, call in body.far_next_calls:
            self._found.add(
                "next-not-last",
                self._sources.span(far_source, call),
                f"step {name!r} calls self.next() in another method",
                "self.next() has to be the last statement of the step itself",
            )

    def _transition(self, name: str, source: SourceFile, node: Function, body: Body) -> Optional[Data]:
        last = node.body[-1]
        own: Any = last.value if isinstance(last, ast.Expr) else None
        for call in body.next_calls:
            if call is not own:
                self._found.add(
                    "next-not-last",
                    self._sources.span(source, call),
                    f"step {name!r}: self.next() is not the last statement of the step",
                    "It stands once, at the end and not inside another statement. To choose between steps while the "
                    "flow runs, use self.next({'x': self.a, 'y': self.b}, condition='choice')",
                )
        if own not in body.next_calls:
            return None
        arguments = [*node.args.posonlyargs, *node.args.args]
        reader = TransitionReader(
            name,
            arguments[0].arg if arguments else "",
            lambda n: self._sources.span(source, n),
            self._found,
            self._loaded.config_values,
        )
        return reader.read(own)


def _named(value: Any) -> str:
    return value if isinstance(value, str) else function_name(value)


def clean_doc(doc: Optional[str]) -> str:
    """Remove the indentation that a docstring has in the source."""
    if not doc:
        return ""
    lines = doc.expandtabs().split("\n")
    margin = min((len(line) - len(line.lstrip()) for line in lines[1:] if line.strip()), default=0)
    return "\n".join([lines[0].lstrip(), *(line[margin:].rstrip() for line in lines[1:])]).strip()
