"""MutableStep: what a mutator may look at and change of a step."""

from __future__ import annotations

from ..decorators import Decorator
from ..exception import MetaflowException
from .common import UserDecorator, find
from .specs import parse_spec

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict, Iterator, List, Optional, Tuple

    from .mutable_flow import MutableFlow

    #: (name, full name, positional arguments, named arguments)
    Spec = Tuple[str, str, List[Any], Dict[str, Any]]

_FIELDS = ("decorators", "wrappers", "config_decorators")


class MutableStep:
    """A step as a mutator sees it."""

    IGNORE = 1
    ERROR = 2
    OVERRIDE = 3

    def __init__(self, flow: MutableFlow, function: Any, name: str) -> None:
        self._flow = flow
        self._function = function
        self.name = name

    @property
    def flow(self) -> MutableFlow:
        """The flow of the step."""
        return self._flow

    @property
    def decorator_specs(self) -> Iterator[Spec]:
        """Iterate over the step's decorators."""
        for field in _FIELDS:
            for decorator in getattr(self._function, field):
                yield spec_of(decorator)

    def has_decorator(self, name: str) -> bool:
        """Whether the step has a decorator of that name."""
        return any(name in spec[:2] for spec in self.decorator_specs)

    def get_decorator_specs(self, name: str) -> List[Spec]:
        """Return the step's decorators of that name."""
        return [spec for spec in self.decorator_specs if name in spec[:2]]

    def add_decorator(
        self,
        deco_type: Any,
        deco_args: Optional[List[Any]] = None,
        deco_kwargs: Optional[Dict[str, Any]] = None,
        duplicates: int = IGNORE,
    ) -> Any:
        """Add a decorator, given as itself, as a user decorator's class or as "name:attribute=value"."""
        decorator = make(deco_type, deco_args or [], deco_kwargs or {}, step=True)
        name = spec_of(decorator)[0]
        field = decorator._field if isinstance(decorator, UserDecorator) else "decorators"
        present = [d for d in getattr(self._function, field) if spec_of(d)[0] == name]
        if present and not getattr(decorator, "repeatable", False):
            if duplicates == self.ERROR:
                raise MetaflowException(f"step {self.name!r} already has the decorator @{name}")
            if duplicates != self.OVERRIDE:
                return None
            setattr(self._function, field, [d for d in getattr(self._function, field) if d not in present])
        getattr(self._function, field).append(decorator)
        return decorator

    def remove_decorator(
        self, deco_name: str, deco_args: Optional[List[Any]] = None, deco_kwargs: Optional[Dict[str, Any]] = None
    ) -> bool:
        """Remove the decorators of that name, only those with the same arguments where these are given."""
        removed = False
        for field in _FIELDS:
            kept = []
            for decorator in getattr(self._function, field):
                short, full, args, kwargs = spec_of(decorator)
                same = deco_name in (short, full)
                if same and deco_args is not None and list(deco_args) != args:
                    same = False
                if same and deco_kwargs is not None and any(kwargs.get(k) != v for k, v in deco_kwargs.items()):
                    same = False
                removed = removed or same
                if not same:
                    kept.append(decorator)
            setattr(self._function, field, kept)
        return removed


def spec_of(decorator: Any) -> Spec:
    """Describe a decorator as (name, full name, positional arguments, named arguments)."""
    if isinstance(decorator, UserDecorator):
        full = type(decorator).decorator_name
        return full.rpartition(".")[2], full, *decorator.get_args_kwargs()
    return decorator.name, "metaflow." + decorator.name, [], dict(decorator.attributes)


def make(kind: Any, args: List[Any], kwargs: Dict[str, Any], step: bool) -> Any:
    """Make a decorator that a mutator adds. Raises MetaflowException when there is none of that name."""
    from .._decorator_table import FLOW_DECORATORS, STEP_DECORATORS

    known = STEP_DECORATORS if step else FLOW_DECORATORS
    if isinstance(kind, str):
        name, given = parse_spec(kind)
        if given and (args or kwargs):
            raise MetaflowException(f"the decorator {kind!r} has attributes twice: in the text and as arguments")
        kwargs = given or kwargs
        kind = find(name) if name not in known else name
    else:
        name = getattr(kind, "mf_decorator", getattr(kind, "decorator_name", str(kind)))
        kind = kind if isinstance(kind, type) else name
    if isinstance(kind, type) and issubclass(kind, UserDecorator):
        decorator: Any = kind(*args, **kwargs)
        decorator.origin = "mutator"
        decorator.external_init()
        return decorator
    if kind not in known:
        raise MetaflowException(f"a mutator adds the decorator {name!r}, which does not exist")
    if args:
        raise MetaflowException(f"a mutator gives @{name} arguments without names; use deco_kwargs")
    decorator = Decorator(name, kwargs, origin="mutator")
    decorator.complete()
    return decorator
