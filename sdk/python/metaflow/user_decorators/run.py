"""Runs the body of a step with the user's decorators around it."""

from __future__ import annotations

from ..exception import MetaflowException

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Dict, List, Optional


def wrap(function: Any, transition: Callable[[], Optional[Dict[str, Any]]]) -> Callable[..., None]:
    """Return the step's function with its decorators applied; `transition` tells the one written in the source."""

    def run(flow: Any, *inputs: Any) -> None:
        _run(function, transition, flow, *inputs)

    run.__name__ = function.__name__
    run.__doc__ = function.__doc__
    return run


def _run(function: Any, transition: Callable[[], Optional[Dict[str, Any]]], flow: Any, *inputs: Any) -> None:
    entered: List[Any] = []
    body: Callable[..., Any] = function
    following: Any = None
    skipped = False
    for decorator in reversed(function.wrappers):
        replacement = decorator.pre_step(function.name, flow, inputs[0] if inputs else None)
        entered.append(decorator)
        if decorator.skip_step:
            skipped, following = True, decorator.skip_step
            break
        if replacement is not None:
            body = replacement
            break
    failure: Optional[Exception] = None
    failed = False
    if not skipped:
        try:
            result = body(flow, *inputs)
            if body is not function:
                following = result or None
        except Exception as error:
            failure, failed = error, True
    for decorator in reversed(entered):
        failure, following = _leave(decorator, function.name, flow, failure, following)
    if failure is not None:
        raise failure
    if following not in (None, False) or failed:
        _go_on(flow, transition(), following)


def _leave(decorator: Any, step: str, flow: Any, failure: Any, following: Any) -> Any:
    """Run what comes after the body; return the exception to raise and the arguments for self.next."""
    try:
        result = decorator.post_step(step, flow, failure)
    except Exception as error:
        return error, following
    if result is None or isinstance(result, Exception):
        return result, following
    if isinstance(result, tuple) and len(result) == 2:
        return result
    return MetaflowException(
        f"post_step of {decorator} returned {result!r}; expected an exception, or an exception and arguments for "
        "self.next"
    ), following


def _go_on(flow: Any, transition: Optional[Dict[str, Any]], following: Any) -> None:
    """Call self.next as the step would have, or with the arguments that a decorator chose."""
    if transition is None:
        return
    options = dict(following) if isinstance(following, dict) else {}
    targets = [getattr(flow, target["step"]) for target in transition["targets"]]
    if not options:
        if transition["kind"] == "parallel":
            raise MetaflowException("a step that starts a gang cannot be skipped without saying num_parallel")
        if transition["kind"] == "foreach":
            options = {"foreach": transition["foreach"]}
        elif transition["kind"] == "switch":
            cases = {case["value"]: getattr(flow, case["step"]) for case in transition["cases"]}
            flow.next(cases, condition=transition["condition"])
            return
    flow.next(*targets, **options)
