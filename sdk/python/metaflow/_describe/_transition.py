"""Reads self.next(…) of a step: where the flow goes, in the literal forms that can be known without running it."""

from __future__ import annotations

import ast

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Dict, List, Optional, Tuple

    from ._diagnostics import Diagnostics, Span

    Transition = Dict[str, Any]

_OPTIONS = ("foreach", "num_parallel", "condition")
_FORMS = (
    "The forms are: self.next(self.a) · self.next(self.a, self.b) · self.next(self.a, foreach='items') · "
    "self.next({'x': self.a, 'y': self.b}, condition='choice') · self.next(self.a, num_parallel=4)"
)


class TransitionReader:
    """Reads one self.next call. What is wrong with it becomes diagnostics."""

    def __init__(
        self,
        step: str,
        self_name: str,
        span: Callable[[Any], Span],
        diagnostics: Diagnostics,
        configs: Dict[str, Any],
    ) -> None:
        self._step = step
        self._self = self_name
        self._span = span
        self._diagnostics = diagnostics
        self._configs = configs

    def _fail(self, code: str, node: Any, summary: str, detail: str = _FORMS) -> None:
        self._diagnostics.add(code, self._span(node), f"step {self._step!r}: {summary}", detail)

    def read(self, call: ast.Call) -> Optional[Transition]:
        """Return the transition in the JSON form of Go's ir.Transition; None when the call is malformed."""
        options = self._options(call)
        if options is None:
            return None
        if len(options) > 1:
            self._fail("next-arguments", call, f"self.next() has both {' and '.join(options)}; only one is possible")
            return None
        is_dict = bool(call.args) and isinstance(call.args[0], ast.Dict)
        if "condition" in options or is_dict:
            return self._switch(call, options)
        targets = self._targets(call)
        if targets is None:
            return None
        transition: Transition = {"kind": "linear", "targets": targets}
        if options and len(targets) > 1:
            self._fail("next-arguments", call, f"self.next() with {next(iter(options))} goes to exactly one step")
            return None
        if "foreach" in options:
            if not self._text(transition, "foreach", options["foreach"]):
                return None
        elif "num_parallel" in options:
            if not self._parallel(transition, options["num_parallel"]):
                return None
        elif len(targets) > 1:
            transition["kind"] = "split"
        transition["span"] = self._span(call)
        return transition

    def _options(self, call: ast.Call) -> Optional[Dict[str, ast.expr]]:
        options: Dict[str, ast.expr] = {}
        for keyword in call.keywords:
            if keyword.arg is None:
                self._fail("next-arguments", keyword.value, "the arguments of self.next() have to be written out")
                return None
            if keyword.arg not in _OPTIONS:
                self._fail(
                    "next-arguments",
                    keyword.value,
                    f"self.next() has no argument {keyword.arg!r}",
                    "Its arguments are " + ", ".join(_OPTIONS),
                )
                return None
            # None says the same as leaving it out.
            if not (isinstance(keyword.value, ast.Constant) and keyword.value.value is None):
                options[keyword.arg] = keyword.value
        return options

    def _target(self, node: ast.expr) -> Optional[str]:
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == self._self:
            return node.attr
        self._fail(
            "next-target",
            node,
            "self.next() goes to something that is not written as self.step_name",
            "The graph has to be known without running the flow. To choose between steps while it runs, use "
            "self.next({'x': self.a, 'y': self.b}, condition='choice')",
        )
        return None

    def _targets(self, call: ast.Call) -> Optional[List[Dict[str, Any]]]:
        if not call.args:
            self._fail("next-arguments", call, "self.next() does not say where to go")
            return None
        names = [self._target(arg) for arg in call.args]
        if None in names:
            return None
        return [{"step": name, "span": self._span(arg)} for name, arg in zip(names, call.args)]

    def _text(self, transition: Transition, name: str, node: ast.expr) -> bool:
        example = "items" if name == "foreach" else "choice"
        if not isinstance(node, ast.Constant) or not isinstance(node.value, str) or not node.value.isidentifier():
            self._fail(
                "next-" + name,
                node,
                f"{name} has to be the name of an artifact in quotes, such as {name}={example!r}",
                "Assign the value to an attribute of self before, and name that attribute",
            )
            return False
        transition["kind"] = "foreach" if name == "foreach" else "switch"
        transition[name] = node.value
        return True

    def _parallel(self, transition: Transition, node: ast.expr) -> bool:
        transition["kind"] = "parallel"
        value: Any = node.value if isinstance(node, ast.Constant) else 0
        if type(value) is not int or (isinstance(node, ast.Constant) and value < 1):
            self._fail("next-parallel", node, "num_parallel has to be a whole number from 1", "")
            return False
        if value:
            transition["num_parallel"] = value
        return True

    def _switch(self, call: ast.Call, options: Dict[str, ast.expr]) -> Optional[Transition]:
        cases = call.args[0] if len(call.args) == 1 else None
        if not isinstance(cases, ast.Dict) or not cases.keys:
            node = call.args[0] if call.args else call
            self._fail("next-condition", node, "with condition, self.next() takes one dict of cases that is not empty")
            return None
        if "condition" not in options:
            self._fail("next-condition", call, "self.next() with a dict of cases needs condition='artifact'")
            return None
        transition: Transition = {"kind": "switch"}
        well_formed = self._text(transition, "condition", options["condition"])
        read = [self._case(key, value) for key, value in zip(cases.keys, cases.values)]
        if not well_formed or None in read:
            return None
        transition["cases"] = [case for case in read if case is not None]
        if not self._distinct(transition["cases"], cases):
            return None
        seen: Dict[str, Dict[str, Any]] = {}
        for case, node in zip(transition["cases"], cases.values):
            seen.setdefault(case["step"], {"step": case["step"], "span": self._span(node)})
        transition["targets"] = list(seen.values())
        transition["span"] = self._span(call)
        return transition

    def _distinct(self, cases: List[Dict[str, Any]], node: ast.Dict) -> bool:
        seen: Dict[Any, bool] = {}
        for case, key in zip(cases, node.keys):
            if case["value"] in seen:
                self._fail("next-condition", key, f"the case {case['value']!r} is there twice", "Remove one of the two")
                return False
            seen[case["value"]] = True
        return True

    def _case(self, key: Optional[ast.expr], value: ast.expr) -> Optional[Dict[str, Any]]:
        if key is None:
            self._fail("next-condition", value, "the cases have to be written out, not taken from another dict")
            return None
        known, literal = self._key(key)
        step = self._target(value)
        if step is None or not known:
            return None
        return {"value": literal, "step": step, "span": self._span(key)}

    def _key(self, node: ast.expr) -> Tuple[bool, Any]:
        sign = 1
        inner = node
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
            sign, inner = -1, node.operand
        if isinstance(inner, ast.Constant) and isinstance(inner.value, (str, int, float)):
            if sign == 1:
                return True, inner.value
            if not isinstance(inner.value, (str, bool)):
                return True, -inner.value
        path = self._config_path(node)
        if path:
            return self._config(node, path)
        self._fail(
            "next-condition",
            node,
            "a case has to be a text, a number or a bool, or a value of a config such as self.config.key",
        )
        return False, None

    def _config_path(self, node: ast.expr) -> List[str]:
        path: List[str] = []
        while isinstance(node, ast.Attribute):
            path.insert(0, node.attr)
            node = node.value
        is_self = isinstance(node, ast.Name) and node.id == self._self
        return path if is_self and len(path) > 1 and path[0] in self._configs else []

    def _config(self, node: ast.expr, path: List[str]) -> Tuple[bool, Any]:
        value = self._configs[path[0]]
        for key in path[1:]:
            if not isinstance(value, dict) or key not in value:
                self._fail("next-condition", node, f"the config has no value {'.'.join(path)}", "")
                return False, None
            value = value[key]
        if not isinstance(value, (str, int, float)):
            self._fail("next-condition", node, f"the config's value {'.'.join(path)} is no text, number or bool", "")
            return False, None
        return True, value
