"""Turns values of the flow into JSON data."""

from __future__ import annotations

import math

from ._stubs import stub_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict


class StubReached(Exception):
    """A value of a module that is not installed would reach the description; `name` is the value's."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name


def function_name(value: Any) -> str:
    """Return a readable name for a function or class."""
    name = getattr(value, "__qualname__", None) or getattr(value, "__name__", None)
    if name is None:
        return type(value).__qualname__
    module = getattr(value, "__module__", None)
    return name if module in (None, "__main__", "builtins") else f"{module}.{name}"


def to_data(value: Any) -> Any:
    """Return JSON data for any value; what JSON cannot say becomes ``{"$python": name}``. Raises StubReached."""
    name = stub_name(value)
    if name:
        raise StubReached(name)
    if value is None or isinstance(value, (bool, str)):
        return value
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else {"$python": repr(float(value))}
    if isinstance(value, dict):
        return {_key(k): to_data(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_data(v) for v in value]
    if isinstance(value, (set, frozenset)):
        return sorted((to_data(v) for v in value), key=repr)
    if callable(value):
        return {"$python": function_name(value)}
    text = repr(value)
    return {"$python": function_name(type(value)) if " at 0x" in text else text}


def _key(key: Any) -> str:
    name = stub_name(key)
    if name:
        raise StubReached(name)
    return key if isinstance(key, str) else str(key)


def is_plain(value: Any) -> bool:
    """Whether JSON says the value exactly: null, bool, number, text, list and dict with text keys."""
    if value is None or type(value) in (bool, int, str):
        return True
    if type(value) is float:
        return math.isfinite(value)
    if type(value) is list:
        return all(is_plain(v) for v in value)
    return type(value) is dict and all(type(k) is str and is_plain(v) for k, v in value.items())


def without_empty(data: Dict[str, Any], keep: Any = ("name",)) -> Dict[str, Any]:
    """Leave out what Go's omitempty leaves out; a default and a value are kept whatever they are."""
    keep = (*keep, "default", "value", "option", "type")
    return {k: v for k, v in data.items() if k in keep or (v is not None and v is not False and v not in ("", [], {}))}
