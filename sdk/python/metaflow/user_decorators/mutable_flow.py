"""MutableFlow: what a mutator may look at and change of a flow."""

from __future__ import annotations

from ..exception import MetaflowException
from ..flowspec import members, steps
from ..parameters import Parameter
from .common import UserDecorator
from .mutable_step import MutableStep, make, spec_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict, Iterator, List, Optional, Tuple

    from .mutable_step import Spec


class MutableFlow:
    """A flow as a mutator sees it."""

    IGNORE = 1
    ERROR = 2
    OVERRIDE = 3

    def __init__(self, cls: Any, configs: Dict[str, Any], decorators: List[Any], early: bool) -> None:
        self._cls = cls
        self._configs = configs
        self._decorators = decorators
        self._early = early

    @property
    def configs(self) -> Iterator[Tuple[str, Any]]:
        """Iterate over (variable, value) of the flow's configs."""
        return iter(self._configs.items())

    @property
    def parameters(self) -> Iterator[Tuple[str, Parameter]]:
        """Iterate over (variable, parameter) of the flow's parameters."""
        for name, value in members(self._cls).items():
            if isinstance(value, Parameter) and not value.IS_CONFIG_PARAMETER:
                yield name, value

    @property
    def steps(self) -> Iterator[Tuple[str, MutableStep]]:
        """Iterate over (name, step) of the flow's steps."""
        for name, function in steps(self._cls).items():
            yield name, MutableStep(self, function, name)

    @property
    def decorator_specs(self) -> Iterator[Spec]:
        """Iterate over the flow's decorators."""
        return (spec_of(decorator) for decorator in self._decorators)

    def has_decorator(self, name: str) -> bool:
        """Whether the flow has a decorator of that name."""
        return any(name in spec[:2] for spec in self.decorator_specs)

    def get_decorator_specs(self, name: str) -> List[Spec]:
        """Return the flow's decorators of that name."""
        return [spec for spec in self.decorator_specs if name in spec[:2]]

    def _only_early(self, what: str) -> None:
        if not self._early:
            raise MetaflowException(f"{what} is possible in pre_mutate only, not in mutate")

    def add_parameter(self, name: str, value: Parameter, overwrite: bool = False) -> None:
        """Add a parameter under the variable `name`."""
        self._only_early("adding a parameter")
        if not isinstance(value, Parameter) or value.IS_CONFIG_PARAMETER:
            raise MetaflowException(f"{name!r} is not a Parameter")
        if hasattr(self._cls, name) and not overwrite:
            raise MetaflowException(f"the flow already has {name!r}; say overwrite=True to replace it")
        setattr(self._cls, name, value)

    def remove_parameter(self, parameter_name: str) -> bool:
        """Remove the parameter under that variable; False when there is none."""
        self._only_early("removing a parameter")
        for base in self._cls.__mro__:
            if isinstance(base.__dict__.get(parameter_name), Parameter):
                delattr(base, parameter_name)
                return True
        return False

    def add_decorator(
        self,
        deco_type: Any,
        deco_args: Optional[List[Any]] = None,
        deco_kwargs: Optional[Dict[str, Any]] = None,
        duplicates: int = IGNORE,
    ) -> Any:
        """Add a flow decorator, given as itself, as a mutator's class or as "name:attribute=value"."""
        self._only_early("adding a flow decorator")
        decorator = make(deco_type, deco_args or [], deco_kwargs or {}, step=False)
        name = spec_of(decorator)[0]
        present = [d for d in self._decorators if spec_of(d)[0] == name]
        if present and not getattr(decorator, "repeatable", False):
            if duplicates == self.ERROR:
                raise MetaflowException(f"the flow already has the decorator @{name}")
            if duplicates != self.OVERRIDE:
                return None
            self._decorators[:] = [d for d in self._decorators if d not in present]
        self._decorators.append(decorator)
        return decorator

    def remove_decorator(
        self, deco_name: str, deco_args: Optional[List[Any]] = None, deco_kwargs: Optional[Dict[str, Any]] = None
    ) -> bool:
        """Remove the flow decorators of that name, only those with the same attributes where these are given."""
        self._only_early("removing a flow decorator")
        kept = []
        for decorator in self._decorators:
            short, full, _, kwargs = spec_of(decorator)
            same = deco_name in (short, full) and not isinstance(decorator, UserDecorator)
            if same and deco_kwargs and any(kwargs.get(k) != v for k, v in deco_kwargs.items()):
                same = False
            if not same:
                kept.append(decorator)
        removed = len(kept) != len(self._decorators)
        self._decorators[:] = kept
        return removed

    def __getattr__(self, name: str) -> Any:
        if name in self.__dict__.get("_configs", {}):
            return self._configs[name]
        value = getattr(self._cls, name, None) if not name.startswith("_") else None
        if getattr(value, "is_step", False):
            return MutableStep(self, value, name)
        if isinstance(value, Parameter):
            return value
        raise AttributeError(f"the flow has no step, parameter or config {name!r}")
