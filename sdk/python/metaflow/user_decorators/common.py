"""What step decorators, step mutators and flow mutators of users have in common."""

from __future__ import annotations

from .. import _state
from .._state import DefinitionError
from ..decorators import name_of
from ..exception import MetaflowException

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Dict, List, Tuple


class UserDecoratorMeta(type):
    """Makes ``@Deco`` and ``@Deco(…)`` both return what they decorate, and records every class by its name."""

    #: Every user decorator by "module.name".
    registry: Dict[str, Any] = {}

    def __init__(cls, name: str, bases: Tuple[type, ...], namespace: Dict[str, Any], **kwargs: Any) -> None:
        super().__init__(name, bases, namespace, **kwargs)
        cls.decorator_name = namespace.get("_decorator_name", f"{cls.__module__}.{name}")
        if not cls.__module__.startswith("metaflow.") or "_decorator_name" in namespace:
            UserDecoratorMeta.registry[cls.decorator_name] = cls

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        target = args[0] if args else None
        if len(args) == 1 and not kwargs and cls._is_target(target):  # type: ignore[attr-defined]
            return super().__call__()(target)
        return super().__call__(*args, **kwargs)

    def __str__(cls) -> str:
        return cls.decorator_name


def find(name: str) -> Any:
    """Return the user decorator of that name; its last parts suffice when they are unique. None when there is none."""
    registry = UserDecoratorMeta.registry
    if name in registry:
        return registry[name]
    matches = [cls for full, cls in registry.items() if full.endswith("." + name)]
    return matches[0] if len(matches) == 1 else None


class UserDecorator(metaclass=UserDecoratorMeta):
    """Base of what users derive from. Arguments are kept until configs are known, then handed to `init`."""

    decorator_name = ""
    #: Where the decorator is kept on what it decorates.
    _field = ""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._args: List[Any] = list(args)
        self._kwargs: Dict[str, Any] = dict(kwargs)
        self._initialised = False
        #: File and line where it was applied.
        self.place = _state.caller()
        #: "" (in the source), "with" or "mutator", as Go's ir.Origin.
        self.origin = ""

    @staticmethod
    def _is_target(target: Any) -> bool:
        return bool(getattr(target, "is_step", False))

    def __call__(self, target: Any) -> Any:
        """Record this decorator on what it decorates."""
        if not self._is_target(target):
            _state.report(
                DefinitionError(
                    "decorator-not-on-step",
                    f"@{type(self).__name__} is on {name_of(target)}, which is not a step",
                    "A step decorator stands above @step",
                    self.place,
                    type(self).__name__,
                )
            )
            return target
        getattr(target, self._field).append(self)
        return target

    def init(self, *args: Any, **kwargs: Any) -> None:
        """Take the arguments; called once, when configs are known. Override it in a decorator with arguments."""

    def external_init(self, resolve: Callable[[Any], Any] = lambda value: value) -> None:
        """Replace config expressions in the arguments (by `resolve`) and call `init`."""
        if self._initialised:
            return
        self._initialised = True
        self._args = resolve(self._args)
        self._kwargs = resolve(self._kwargs)
        takes_arguments = any(
            "init" in base.__dict__ for base in type(self).__mro__[:-1] if base.__module__ != __name__
        )
        if (self._args or self._kwargs) and not takes_arguments:
            raise MetaflowException(f"@{type(self).__name__} is given arguments, but its class has no method init")
        self.init(*self._args, **self._kwargs)

    def get_args_kwargs(self) -> Tuple[List[Any], Dict[str, Any]]:
        """Return the arguments."""
        return list(self._args), dict(self._kwargs)

    def mf_attributes(self) -> Dict[str, Any]:
        """Return the arguments as attributes of a decorator; those without a name are in the list "_args"."""
        return {**({"_args": list(self._args)} if self._args else {}), **self._kwargs}

    def __str__(self) -> str:
        return str(type(self))
