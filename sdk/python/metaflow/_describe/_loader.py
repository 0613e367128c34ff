"""Executes a flow file and finds its flow."""

from __future__ import annotations

import os
import sys
import types

from .. import _state
from ..flowspec import NON_PARAMETERS, FlowSpec, members, steps
from ._diagnostics import Diagnostics, Files

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Dict, Iterable, List, Mapping, NoReturn, Optional

    from .._state import DefinitionError


class LoadOptions:
    """How to load: what the command line said, and whether stubs may stand in for missing modules."""

    def __init__(
        self,
        with_specs: Iterable[str] = (),
        configs: Optional[Mapping[str, str]] = None,
        config_values: Optional[Mapping[str, str]] = None,
        stubs: bool = False,
        evaluate: bool = False,
        config_data: Optional[Mapping[str, Any]] = None,
    ) -> None:
        #: Decorators for every step, as ``name:attribute=value,…``.
        self.with_specs = list(with_specs)
        #: Files of configs, by the config's name.
        self.configs = dict(configs or {})
        #: Texts of configs, by the config's name.
        self.config_values = dict(config_values or {})
        #: Values of configs as they were read before, by the config's name.
        self.config_data = dict(config_data or {})
        self.stubs = stubs
        #: Whether functions that compute defaults are called for the description.
        self.evaluate = evaluate


class FlowFound(BaseException):
    """Ends the execution of the flow file: FlowSpec() was called under its main guard."""

    def __init__(self, cls: type) -> None:
        super().__init__()
        self.cls = cls


class LoadedFlow:
    """A flow that was loaded, or what kept it from being loaded; see metaflow._contract.LoadedFlow."""

    def __init__(self, path: str, options: LoadOptions) -> None:
        self.path = path
        self.options = options
        self.files = Files(path)
        self.found = Diagnostics()
        self.cls: Any = None
        self.module: Any = None
        self.error: Optional[BaseException] = None
        self.steps: Dict[str, Any] = {}
        self.parameters: Dict[str, Any] = {}
        self.constants: Dict[str, Any] = {}
        #: Config objects by variable name, and their values as the flow's code sees them.
        self.config_objects: Dict[str, Any] = {}
        self.config_values: Dict[str, Any] = {}
        #: The flow's decorators and mutators, innermost first, those of base classes before.
        self.decorators: List[Any] = []
        self.mutators: List[Any] = []
        self._description: Optional[Dict[str, Any]] = None
        self._describer: Any = None

    @property
    def diagnostics(self) -> List[Dict[str, Any]]:
        """The findings so far; describing the flow adds those about the steps' bodies."""
        return self.found.items

    @property
    def configs(self) -> Dict[str, Any]:
        """Config values by variable name, as plain data."""
        if not self.config_values:
            return {}
        from ..user_configs.config_parameters import plain

        return {name: plain(value) for name, value in self.config_values.items()}

    def describer(self) -> Any:
        """Return the describer of this flow (metaflow._describe._describer), made once."""
        if self._describer is None:
            from ._describer import Describer

            self._describer = Describer(self)
        return self._describer

    def description(self) -> Dict[str, Any]:
        """Return the flow in the JSON form of Go's ir.Flow."""
        if self._description is None:
            self._description = self.describer().describe()
        return self._description

    def new_instance(self) -> Any:
        """Return a new instance of the flow class."""
        return self.cls()

    def step_function(self, name: str) -> Callable[..., Any]:
        """Return the function of a step, with the user's own step decorators applied."""
        function = self.steps[name]
        if not function.wrappers:
            return function
        from ..user_decorators.run import wrap

        return wrap(function, lambda: self.describer().transition(name))


class _Loader:
    """What the SDK reports to while the flow file is executed."""

    def __init__(self, loaded: LoadedFlow) -> None:
        self._loaded = loaded

    def record(self, error: DefinitionError) -> None:
        """Keep a mistake in how the flow is written."""
        files = self._loaded.files
        place = files.decorator_place(error.place, error.decorator, error.beyond) if error.decorator else error.place
        self._loaded.found.add(error.code, files.span(place), error.summary, error.detail)

    def found(self, cls: type) -> NoReturn:
        """End the loading."""
        raise FlowFound(cls)

    def reject_stub(self, name: str, target: Any) -> bool:
        """Report a step or flow that a stub decorates: what the decorator would do cannot be known."""
        is_flow = isinstance(target, type) and issubclass(target, FlowSpec)
        if not is_flow and not getattr(target, "is_step", False):
            return False
        kind = "flow" if is_flow else "step"
        self._loaded.found.add(
            "stub-value",
            self._loaded.files.span(self._loaded.files.decorator_place(_state.caller(), name.rpartition(".")[2])),
            f"the {kind} {target.__name__} is decorated with {name} of a module that is not installed here",
            "Install the module where the flow is compiled",
        )
        return True


def load(path: str, class_name: Optional[str] = None, options: Optional[LoadOptions] = None) -> LoadedFlow:
    """Execute a flow file as ``__main__`` and find its flow. Mistakes of the user become diagnostics, never raise."""
    loaded = LoadedFlow(os.path.abspath(path), options or LoadOptions())
    loader = _Loader(loaded)
    finder = None
    _state.embedded = True
    _state.loader = loader
    if loaded.options.stubs:
        from ._stubs import Finder

        finder = Finder(loaded.files, loaded.found)
        finder.install(loader.reject_stub)
    try:
        cls = _execute(loaded)
        if loaded.error is None:
            loaded.cls = _choose(loaded, cls, class_name)
        if loaded.cls is not None:
            _prepare(loaded)
    finally:
        _state.loader = None
        if finder is not None:
            finder.remove()
    return loaded


def _execute(loaded: LoadedFlow) -> Optional[type]:
    """Run the file; return the class whose FlowSpec() ended it, if one did."""
    from ._failures import report

    folder = os.path.dirname(loaded.path)
    if not sys.path or sys.path[0] != folder:
        sys.path.insert(0, folder)
    sys.argv[:] = [loaded.path]
    module = types.ModuleType("__main__")
    module.__file__ = loaded.path
    sys.modules["__main__"] = loaded.module = module
    try:
        with open(loaded.path, "rb") as file:
            source = file.read()
    except OSError as error:
        loaded.error = error
        loaded.found.add("unreadable", {"file": os.path.basename(loaded.path)}, f"cannot be read: {error.strerror}")
        return None
    try:
        exec(_compile(source, loaded.path), module.__dict__)  # noqa: S102 (the purpose)
    except FlowFound as found:
        return found.cls
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        loaded.error = error
        report(loaded, error)
    return None


def _compile(source: bytes, path: str) -> types.CodeType:
    try:
        return compile(source, path, "exec", dont_inherit=True)
    except ValueError as error:
        # Before Python 3.12, for a file that holds null bytes.
        raise SyntaxError(str(error), (path, None, None, None)) from None


def _choose(loaded: LoadedFlow, found: Optional[type], name: Optional[str]) -> Optional[type]:
    """Pick the flow class: the one asked for, the one whose FlowSpec() was called, or the only one in the file."""
    span = {"file": loaded.files.name(loaded.path)}
    candidates = {
        value.__name__: value
        for value in vars(loaded.module).values()
        if isinstance(value, type) and issubclass(value, FlowSpec) and value is not FlowSpec
    }
    if name is not None:
        if found is not None:
            candidates.setdefault(found.__name__, found)
        if name in candidates:
            return candidates[name]
        own = ", ".join(sorted(candidates)) or "none"
        loaded.found.add(
            "unknown-class", span, f"there is no flow class {name!r} in this file", f"Its flows are: {own}"
        )
        return None
    if found is not None:
        return found
    own_classes = [c for c in candidates.values() if c.__module__ == "__main__"]
    leaves = [c for c in own_classes if not any(c in other.__mro__[1:] for other in own_classes)]
    if len(leaves) == 1:
        return leaves[0]
    if not leaves:
        loaded.found.add(
            "no-flow", span, "there is no flow in this file", "A flow is a class that derives from metaflow.FlowSpec"
        )
        return None
    names = sorted(c.__name__ for c in leaves)
    loaded.found.add(
        "several-flows",
        span,
        f"there are several flows in this file: {', '.join(names)}",
        f"Name the one that is meant: {os.path.basename(loaded.path)}:{names[0]}",
    )
    return None


def _prepare(loaded: LoadedFlow) -> None:
    """Find what the class defines, and apply configs, mutators and --with."""
    cls = loaded.cls
    loaded.steps = steps(cls)
    _check_hidden(loaded)
    _collect(loaded)
    inherited: List[Any] = []
    for base in reversed(cls.__mro__):
        own = base.__dict__.get("_mf_own_decorators", [])
        names = {d.name for d in own if not d.repeatable}
        inherited = [d for d in inherited if d.name not in names] + own
        loaded.mutators.extend(base.__dict__.get("_mf_own_mutators", []))
    loaded.decorators = inherited
    from ._apply import apply

    apply(loaded)


def _check_hidden(loaded: LoadedFlow) -> None:
    """Report parameters in variables that Metaflow, and so mf, does not look at."""
    for base in loaded.cls.__mro__:
        for name, value in vars(base).items():
            if hasattr(type(value), "IS_CONFIG_PARAMETER") and (name.startswith("_") or name in NON_PARAMETERS):
                why = "starts with an underscore" if name.startswith("_") else "is a name of FlowSpec's own"
                loaded.found.add(
                    "parameter-variable",
                    loaded.files.span(value.place),
                    f"parameter {value.name!r} is in the variable {name!r}, which {why}",
                    "It would not become a parameter. Use another variable",
                )


def _collect(loaded: LoadedFlow) -> None:
    """Sort the class's attributes into parameters, configs and constants."""
    loaded.parameters, loaded.constants, loaded.config_objects = {}, {}, {}
    for name, value in members(loaded.cls).items():
        kind = getattr(value, "IS_CONFIG_PARAMETER", None)
        if kind is True:
            loaded.config_objects[name] = value
        elif kind is False:
            loaded.parameters[name] = value
        elif hasattr(type(value), "mf_attributes"):
            loaded.found.add(
                "decorator-not-on-step",
                loaded.files.span(loaded.files.decorator_place(value.place, type(value).__name__)),
                f"the decorator @{type(value).__name__} is on {name!r}, which is not a step",
                "A step decorator stands above @step",
            )
        else:
            loaded.constants[name] = value
