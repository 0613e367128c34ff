"""FlowSpec, the class that a flow derives from."""

from __future__ import annotations

from . import _state
from .exception import MetaflowException

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Dict, Iterable, Iterator, List, Optional, Sequence, Tuple

    from ._contract import TaskContext
    from .decorators import Decorator


class InvalidNextException(MetaflowException):
    """self.next() was called in a way that is not allowed."""

    headline = "Invalid self.next() transition detected"


class UnboundedForeachInput:
    """Base of values whose number of splits is not known beforehand."""


class ParallelUBF(UnboundedForeachInput):
    """What a gang is split over. The pickle of this class is part of the artifact format."""

    def __init__(self, num_parallel: int) -> None:
        self.num_parallel = num_parallel

    def __getitem__(self, item: Optional[int]) -> int:
        return item or 0


#: Attributes of the class that are neither parameters, constants nor artifacts.
NON_PARAMETERS = frozenset({"cmd", "foreach_stack", "index", "input", "script_name", "name"})


class FlowSpec:
    """Derive a flow from this class; its methods decorated with @step are the flow's steps."""

    #: The flow's own decorators, innermost first; each class has a list of its own.
    _mf_own_decorators: List[Decorator] = []
    #: The flow's own mutators, innermost first.
    _mf_own_mutators: List[Any] = []

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls._mf_own_decorators = []
        cls._mf_own_mutators = []

    def __init__(self, use_cli: bool = True) -> None:
        """Enter the command line, unless `use_cli` is False or mf itself made the instance."""
        self.name = type(self).__name__
        if not use_cli:
            return
        if _state.loader is not None:
            _state.loader.found(type(self))
        if not _state.embedded:
            from ._cli import hand_over

            hand_over(type(self))

    @property
    def _task(self) -> TaskContext:
        task = self.__dict__.get("_mf_task")
        if task is None:
            raise MetaflowException("this can only be used in a step while the flow runs")
        return task

    @property
    def script_name(self) -> str:
        """The base name of the flow file."""
        import os
        import sys

        module = sys.modules.get(type(self).__module__)
        return os.path.basename(getattr(module, "__file__", None) or "")

    @property
    def index(self) -> Optional[int]:
        """The index of this task in its innermost foreach; None outside a foreach."""
        return self._task.index

    @property
    def input(self) -> Any:
        """The item of this task in its innermost foreach; None outside a foreach."""
        return self._task.input

    def foreach_stack(self) -> List[Tuple[int, int, Any]]:
        """Return (index, number of splits, item) for each enclosing foreach, outermost first."""
        return self._task.foreach_stack()

    def next(self, *dsts: Any, **kwargs: Any) -> None:
        """Say which step comes next; the last statement of every step but the end.

        ``self.next(self.a)``, ``self.next(self.a, self.b)``, ``self.next(self.a, foreach="items")``,
        ``self.next({"x": self.a, "y": self.b}, condition="choice")`` and ``self.next(self.a, num_parallel=4)``.
        """
        options = {name: kwargs.pop(name, None) for name in ("foreach", "num_parallel", "condition")}
        if kwargs:
            raise InvalidNextException(f"self.next() has no argument {next(iter(kwargs))!r}")
        self._task.next(dsts, **options)

    def merge_artifacts(
        self,
        inputs: Any,
        exclude: Optional[Sequence[str]] = None,
        include: Optional[Sequence[str]] = None,
    ) -> None:
        """In a join, take over the artifacts that are the same in all inputs and that the step has not set.

        Raises UnhandledInMergeArtifactsException for artifacts that differ, and MissingInMergeArtifactsException
        for names in `include` that no input has.
        """
        self._task.merge_artifacts(inputs, exclude, include)

    def cmd(self, cmdline: str, input: Optional[Dict[str, Any]] = None, output: Optional[Iterable[str]] = None) -> None:
        """Not supported; use subprocess."""
        raise MetaflowException("FlowSpec.cmd is a leftover in Metaflow that mf does not have; use subprocess.run")

    def __getattr__(self, name: str) -> Any:
        task = self.__dict__.get("_mf_task")
        if task is None or (name.startswith("__") and name.endswith("__")):
            raise AttributeError(f"flow {type(self).__name__} has no attribute {name!r}")
        value = task.get_artifact(name)
        self.__dict__[name] = value
        return value

    def __iter__(self) -> Iterator[Callable[..., Any]]:
        """Iterate over the steps' functions, in the order of the source."""
        return iter(steps(type(self)).values())

    def __str__(self) -> str:
        return f"<flow {type(self).__name__}>"

    def __getstate__(self) -> Any:
        raise MetaflowException(
            "a flow cannot be stored as an artifact: self, or one of the inputs of a join, was assigned to an "
            "attribute; store the values that are needed, such as inputs[0].x, instead"
        )

    @classmethod
    def _mf_bind_read_only(cls, names: Iterable[str]) -> None:
        """Make parameters, configs and constants properties that read the run's values and cannot be set."""
        for name in names:
            setattr(cls, name, _read_only(name, getattr(cls, name, None)))


def _read_only(name: str, definition: Any) -> property:
    # A config is stored as plain data; its wrapped form is kept for as long as the data is the same object.
    wrapped: List[Any] = [None, None]

    def read(self: FlowSpec) -> Any:
        return self._task.get_artifact(name)

    def read_config(self: FlowSpec) -> Any:
        data = self._task.get_artifact(name)
        if wrapped[0] is not data or wrapped[1] is None:
            wrapped[:] = [data, definition.wrap(data)]
        return wrapped[1]

    is_config = getattr(definition, "IS_CONFIG_PARAMETER", False) is True
    return property(read_config if is_config else read, doc=f"The run's value of {name}.")


def steps(cls: type) -> Dict[str, Any]:
    """Return the step functions of a flow class by name: those of base classes first, each in source order."""
    found: Dict[str, Any] = {}
    for base in reversed(cls.__mro__):
        for name, value in vars(base).items():
            if getattr(value, "is_step", False) and hasattr(value, "__code__"):
                found.setdefault(name, value)
    return {
        name: final for name, final in ((n, getattr(cls, n, None)) for n in found) if getattr(final, "is_step", False)
    }


def members(cls: type) -> Dict[str, Any]:
    """Return the attributes of a flow class that users defined and that are no methods, in source order."""
    skip = NON_PARAMETERS
    found: Dict[str, Any] = {}
    for base in reversed(cls.__mro__):
        if base in (FlowSpec, object):
            continue
        for name in vars(base):
            if not name.startswith("_") and name not in skip and name not in found:
                found[name] = None
    method = type(members)
    bound = type(cls.__init_subclass__)
    result: Dict[str, Any] = {}
    for name in found:
        value = getattr(cls, name, None)
        if not isinstance(value, (method, bound, property, type)) and hasattr(cls, name):
            result[name] = value
    return result
