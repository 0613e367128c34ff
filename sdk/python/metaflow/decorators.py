"""@step and the decorators of steps and flows.

A decorator does nothing here but record itself, with the attributes given and the defaults filled in; mf acts on it.
"""

from __future__ import annotations

from . import _state
from ._decorator_table import FLOW_DECORATORS, REPEATABLE, STEP_DECORATORS
from ._state import DefinitionError, Place

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Dict, List, Optional

#: Start of the keyword that ``**config.value`` leaves when the value is not known yet.
UNPACK_KEY = "_unpacked_delayed_"


class Decorator:
    """One decorator of a step or flow."""

    def __init__(
        self,
        name: str,
        attributes: Dict[str, Any],
        place: Optional[Place] = None,
        origin: str = "",
        package: str = "",
    ) -> None:
        self.name = name
        #: What was given; `complete` adds the defaults.
        self.attributes = dict(attributes)
        #: File and line where it was written.
        self.place = place
        #: "" (in the source), "with" or "mutator", as Go's ir.Origin.
        self.origin = origin
        #: The extension package that would provide it; empty for Metaflow's own.
        self.package = package

    @property
    def repeatable(self) -> bool:
        """Whether it may stand several times on one step or flow."""
        return self.name in REPEATABLE

    def complete(self) -> None:
        """Check the attribute names and fill in the defaults. Reports what is wrong."""
        defaults = STEP_DECORATORS.get(self.name)
        if defaults is None:
            defaults = FLOW_DECORATORS.get(self.name)
        if defaults is None:
            return
        for name in self.attributes:
            if name not in defaults and not name.startswith(UNPACK_KEY):
                _state.report(unknown_attribute(self, name, list(defaults)))
        filled = {k: v.copy() if isinstance(v, (dict, list)) else v for k, v in defaults.items()}
        filled.update(self.attributes)
        self.attributes = filled


def unknown_attribute(decorator: Decorator, name: str, known: List[str]) -> DefinitionError:
    """Make the error for an attribute that the decorator does not have."""
    if not known:
        return DefinitionError(
            "decorator-attribute",
            f"@{decorator.name} takes no attributes, but {name!r} was given",
            place=decorator.place,
        )
    near = _state.nearest(name, known)
    return DefinitionError(
        "decorator-attribute",
        f"@{decorator.name} has no attribute {name!r}" + (f"; did you mean {near!r}?" if near else ""),
        "Its attributes are " + ", ".join(sorted(known)),
        decorator.place,
    )


def step(f: Optional[Callable[..., Any]] = None, *, start: bool = False, end: bool = False) -> Any:
    """Make a method of a FlowSpec a step. `start` and `end` mark the flow's endpoints where they are not called so."""

    def mark(func: Any) -> Any:
        if not hasattr(func, "__code__"):
            _state.report(
                DefinitionError(
                    "step-not-function", "@step belongs on a method", "Put @step directly above def", decorator="step"
                )
            )
            return func
        func.is_step = True
        func.name = func.__name__
        func.decorators = []
        func.wrappers = []
        func.config_decorators = []
        func.mf_start = start
        func.mf_end = end
        return func

    return mark if f is None else mark(f)


def add(decorators: List[Decorator], decorator: Decorator, owner: str) -> None:
    """Append a decorator, unless one of its name is there and it may only stand once (which is reported)."""
    first = next((d for d in decorators if d.name == decorator.name), None)
    if first is not None and not decorator.repeatable:
        _state.report(
            DefinitionError(
                "duplicate-decorator",
                f"{owner} has the decorator @{decorator.name} twice",
                "Remove one of the two",
                decorator.place,
                decorator.name,
                first.place,
            )
        )
        return
    decorators.append(decorator)


def name_of(target: Any) -> str:
    """Return how a message names what a decorator stands on."""
    return repr(getattr(target, "__name__", type(target).__name__))


def _attach_to_step(func: Any, decorator: Decorator) -> Any:
    if getattr(func, "is_step", False):
        add(func.decorators, decorator, f"step {func.__name__!r}")
    elif callable(func):
        _state.report(
            DefinitionError(
                "decorator-not-on-step",
                f"@{decorator.name} is on {name_of(func)}, which is not a step",
                "A step decorator stands above @step",
                decorator.place,
                decorator.name,
            )
        )
    else:
        _report_positional(func, decorator)
    return func


def _attach_to_flow(cls: Any, decorator: Decorator) -> Any:
    if isinstance(cls, type) and "_mf_own_decorators" in cls.__dict__:
        add(cls._mf_own_decorators, decorator, f"flow {cls.__name__}")
    elif callable(cls):
        _state.report(
            DefinitionError(
                "decorator-not-on-flow",
                f"@{decorator.name} is on {name_of(cls)}, which is not a flow",
                "A flow decorator stands above the class that derives from FlowSpec",
                decorator.place,
                decorator.name,
            )
        )
    else:
        _report_positional(cls, decorator)
    return cls


def _report_positional(value: Any, decorator: Decorator) -> None:
    known = STEP_DECORATORS.get(decorator.name) or FLOW_DECORATORS.get(decorator.name) or {}
    example = f", such as {next(iter(known))}=…" if known else ""
    _state.report(
        DefinitionError(
            "decorator-attribute",
            f"@{decorator.name} was given {value!r} without a name",
            f"Its attributes have to be named{example}",
            decorator.place,
        )
    )


def _make(name: str, attach: Callable[[Any, Decorator], Any], package: str = "") -> Callable[..., Any]:
    """Make the function that is imported as a decorator; it works with and without parentheses."""

    def decorate(*args: Any, **attributes: Any) -> Any:
        decorator = Decorator(name, attributes, _state.caller(), package=package)
        decorator.complete()
        if not args:
            return lambda target: attach(target, decorator)
        target = attach(args[0], decorator)
        # @retry(3) has been reported; what it returns is still applied to the step.
        return target if callable(target) else lambda inner: inner

    decorate.__name__ = decorate.__qualname__ = name
    decorate.__doc__ = f"The decorator @{name}."
    decorate.mf_decorator = name  # type: ignore[attr-defined]
    return decorate


def unknown(name: str, package: str) -> Callable[..., Any]:
    """Make a decorator of an extension package that mf does not have: it records itself as unknown."""

    def attach(target: Any, decorator: Decorator) -> Any:
        if getattr(target, "is_step", False):
            target.decorators.append(decorator)
        elif isinstance(target, type) and "_mf_own_decorators" in target.__dict__:
            target._mf_own_decorators.append(decorator)
        return target

    return _make(name, attach, package)


def lookup(name: str) -> Callable[..., Any]:
    """Return the decorator of that name. Raises KeyError when there is none."""
    if name in STEP_DECORATORS:
        return _make(name, _attach_to_step)
    if name in FLOW_DECORATORS:
        return _make(name, _attach_to_flow)
    raise KeyError(name)


globals().update({_name: lookup(_name) for _name in (*STEP_DECORATORS, *FLOW_DECORATORS)})
