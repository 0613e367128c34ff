"""self.next(): which step follows, checked against the transition that was read from the source."""

from __future__ import annotations

import os
import reprlib

from metaflow.flowspec import InvalidNextException, UnboundedForeachInput

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .protocol import Message


#: Characters of a foreach item's text that are kept, unless METAFLOW_MAXIMUM_FOREACH_VALUE_CHARS says otherwise.
VALUE_LENGTH = 30


def compute(task: Any, targets: tuple[Any, ...], options: dict[str, Any]) -> Message:
    """Return the `transition` object of the `done` message; raises InvalidNextException."""
    step = task.step
    if task.transition is not None:
        raise InvalidNextException(
            f"step '{step}' called self.next() twice; call it once, as the last statement of the step"
        )
    foreach, num_parallel, condition = options["foreach"], options["num_parallel"], options["condition"]
    if condition is not None:
        if foreach is not None or num_parallel is not None:
            raise InvalidNextException(f"step '{step}': condition cannot go with foreach or num_parallel")
        names = [_chosen(task, targets, condition)]
    else:
        if len(targets) == 1 and isinstance(targets[0], dict):
            raise InvalidNextException(
                f"step '{step}' passes a dictionary to self.next() without saying which artifact chooses: "
                "self.next({...}, condition='name')"
            )
        names = [_step_name(task, target, f"argument {i + 1} of self.next()") for i, target in enumerate(targets)]
        if not names:
            raise InvalidNextException(f"step '{step}' calls self.next() without a step")
    result: Message = {"targets": names, "foreach": None, "num_splits": None, "values": None, "num_parallel": None}
    if num_parallel is not None:
        result["num_parallel"] = _gang_size(task, names, foreach, num_parallel)
    elif foreach:
        result["foreach"] = foreach
        _split(task, names, foreach, result)
    _check_static(task, names, result, condition is not None)
    return result


def check_called(task: Any) -> None:
    """Raise when a step that has a static transition ended without self.next()."""
    static = task.job.get("next")
    if task.transition is None and static and static.get("targets"):
        raise InvalidNextException(
            f"step '{task.step}' ended without calling self.next(); it should go to {_quoted(static['targets'])}"
        )


def _check_static(task: Any, names: list[str], result: Message, switch: bool) -> None:
    static = task.job.get("next")
    if static is None:
        raise InvalidNextException(f"step '{task.step}' is the end of the flow; it cannot call self.next()")
    expected = static.get("targets") or []
    if switch:
        expected = [case[1] for case in static.get("cases") or []] or expected
        if names[0] in expected:
            return
    elif names == expected:
        _check_kind(task, static, result)
        return
    raise InvalidNextException(
        f"step '{task.step}' goes to {_quoted(names)}, but the flow's source says {_quoted(expected)}; "
        "write one self.next() with the steps' names as the last statement of the step"
    )


def _check_kind(task: Any, static: Message, result: Message) -> None:
    for kind, field, argument in (("foreach", "foreach", "foreach"), ("parallel", "num_parallel", "num_parallel")):
        if (static.get("kind") == kind) != (result[field] is not None):
            with_or_without = "with" if result[field] is not None else "without"
            raise InvalidNextException(
                f"step '{task.step}' calls self.next() {with_or_without} {argument}, against the flow's source; "
                "write one self.next() as the last statement of the step"
            )


def _quoted(names: list[str]) -> str:
    return ", ".join(f"'{name}'" for name in names)


def _step_name(task: Any, target: Any, what: str) -> str:
    function = getattr(target, "__func__", None)
    name: str | None = getattr(function, "__name__", None)
    if name is None:
        raise InvalidNextException(
            f"step '{task.step}': {what} is {reprlib.repr(target)}, not a step; write self.next(self.some_step)"
        )
    if not hasattr(type(task.flow), name):
        raise InvalidNextException(f"step '{task.step}' goes to '{name}', which the flow does not have")
    return name


def _chosen(task: Any, targets: tuple[Any, ...], condition: Any) -> str:
    step = task.step
    if len(targets) != 1 or not isinstance(targets[0], dict) or not targets[0]:
        raise InvalidNextException(
            f"step '{step}': with condition, self.next() takes one dictionary from values to steps"
        )
    if not isinstance(condition, str):
        raise InvalidNextException(f"step '{step}': condition is the name of an artifact, a text")
    cases = targets[0]
    try:
        value = getattr(task.flow, condition)
    except AttributeError:
        raise InvalidNextException(
            f"step '{step}' chooses the next step by self.{condition}, which does not exist; set it before self.next()"
        ) from None
    try:
        known = value in cases
    except TypeError:
        known = False
    if not known:
        raise RuntimeError(
            f"step '{step}': self.{condition} is {reprlib.repr(value)}, which is none of the cases of self.next(): "
            + ", ".join(repr(case) for case in cases)
        )
    return _step_name(task, cases[value], f"the case {value!r} of self.next()")


def _gang_size(task: Any, names: list[str], foreach: Any, num_parallel: Any) -> int:
    if foreach is not None:
        raise InvalidNextException(f"step '{task.step}': num_parallel cannot go with foreach")
    if len(names) != 1:
        raise InvalidNextException(f"step '{task.step}': num_parallel takes exactly one step")
    index = getattr(type(num_parallel), "__index__", None)
    if index is None or isinstance(num_parallel, bool):
        raise InvalidNextException(
            f"step '{task.step}': num_parallel is {reprlib.repr(num_parallel)}, a {type(num_parallel).__name__}; "
            "it must be a whole number"
        )
    size = int(index(num_parallel))
    if size < 1:
        raise InvalidNextException(f"step '{task.step}': num_parallel is {size}; it must be at least 1")
    return size


def _split(task: Any, names: list[str], foreach: Any, result: Message) -> None:
    step = task.step
    if not isinstance(foreach, str):
        raise InvalidNextException(f"step '{step}': foreach is the name of an artifact, a text")
    if len(names) != 1:
        raise InvalidNextException(f"step '{step}': foreach takes exactly one step")
    try:
        items = getattr(task.flow, foreach)
    except AttributeError:
        raise InvalidNextException(
            f"step '{step}' goes over self.{foreach}, which does not exist; set it before self.next()"
        ) from None
    if isinstance(items, UnboundedForeachInput):
        raise InvalidNextException(f"step '{step}': mf cannot go over self.{foreach}, an unbounded foreach")
    if hasattr(items, "__next__") and not hasattr(items, "__getitem__"):
        raise InvalidNextException(
            f"step '{step}' goes over self.{foreach}, a {type(items).__name__}, which can be read only "
            "once; store list(...) of it"
        )
    try:
        values = item_texts(items)
    except Exception as error:
        raise InvalidNextException(
            f"step '{step}' goes over self.{foreach}, a {type(items).__name__} that is not iterable: {error}"
        ) from error
    if not values:
        raise InvalidNextException(
            f"step '{step}' goes over self.{foreach}, which is empty; a foreach needs at least one item"
        )
    result["num_splits"] = len(values)
    result["values"] = values


def item_texts(items: Any) -> list[str]:
    """Return the texts that `_foreach_values` holds: one per item, cut to VALUE_LENGTH characters."""
    length = int(os.environ.get("METAFLOW_MAXIMUM_FOREACH_VALUE_CHARS") or VALUE_LENGTH)
    shorten = reprlib.Repr().repr
    return [str(item if isinstance(item, (str, int, float)) else shorten(item))[:length] for item in items]
