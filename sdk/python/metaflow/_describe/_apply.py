"""Completes a loaded flow: configs, mutators, --with, and what decorators and parameters take from configs."""

from __future__ import annotations

from .._state import Place
from ..exception import MetaflowException
from ._configs import ConfigReader, by_name
from ._failures import report

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Dict

    from ..parameters import ParameterContext
    from ._loader import LoadedFlow


#: The place of what the command line says.
_COMMAND_LINE = Place("")


def context(loaded: LoadedFlow) -> ParameterContext:
    """Return what functions that compute defaults are told."""
    import os

    from ..parameters import ParameterContext

    names = ("METAFLOW_USER", "SUDO_USER", "USERNAME", "USER")
    user = next((os.environ[name] for name in names if os.environ.get(name)), "unknown")
    configs: Any = None
    if loaded.config_values:
        from ..user_configs.config_parameters import ConfigValue

        configs = ConfigValue(loaded.config_values)
    store = os.environ.get("METAFLOW_DEFAULT_DATASTORE", "local")
    return ParameterContext(loaded.cls.__name__, user, "", ds_type=store, configs=configs)


def apply(loaded: LoadedFlow) -> None:
    """Run all stages, in Metaflow's order. A mutator that fails ends them."""
    from ._loader import _collect

    reader = ConfigReader(
        loaded.files,
        loaded.found,
        loaded.options.configs,
        loaded.options.config_values,
        lambda: context(loaded),
        loaded.options.config_data,
    )
    loaded.config_values = reader.read(loaded.config_objects)
    evaluate = _evaluator(loaded)
    mutating = bool(loaded.mutators) or any(f.config_decorators for f in loaded.steps.values())
    if mutating and not _mutate(loaded, evaluate, early=True):
        return
    _collect(loaded)
    for name, parameter in list(loaded.parameters.items()):
        if not _guard(loaded, parameter.place, lambda parameter=parameter: parameter.resolve(evaluate)):
            del loaded.parameters[name]
    if loaded.options.with_specs:
        _attach(loaded)
    if mutating and not _mutate(loaded, evaluate, early=False):
        return
    for decorators in [loaded.decorators, *(f.decorators for f in loaded.steps.values())]:
        for decorator in decorators:
            _guard(loaded, decorator.place, lambda decorator=decorator: _resolve(decorator, evaluate))
    for function in loaded.steps.values():
        for decorator in function.wrappers:
            _guard(loaded, _place(loaded, decorator), lambda decorator=decorator: decorator.external_init(evaluate))


def _evaluator(loaded: LoadedFlow) -> Callable[[Any], Any]:
    """Return a function that replaces config expressions by their values."""
    import sys

    # Without this module there is neither a config nor an expression over one.
    module = sys.modules.get("metaflow.user_configs.config_parameters")
    if module is None:
        return lambda value: value
    named: Dict[str, Any] = by_name(loaded.config_objects, loaded.config_values)
    return lambda value: module.resolve(value, named)


def _guard(loaded: LoadedFlow, place: Any, action: Callable[[], Any]) -> bool:
    """Run an action; what it raises becomes a diagnostic at `place`."""
    try:
        action()
    except MetaflowException as error:
        loaded.found.add("flow-definition", loaded.files.span(place), error.message or str(error))
        return False
    except Exception as error:
        report(loaded, error, place)
        return False
    return True


def _place(loaded: LoadedFlow, decorator: Any) -> Any:
    return loaded.files.decorator_place(decorator.place, type(decorator).__name__)


def _resolve(decorator: Any, evaluate: Callable[[Any], Any]) -> None:
    from ..decorators import UNPACK_KEY

    before = decorator.attributes
    decorator.attributes = evaluate(before)
    if any(name.startswith(UNPACK_KEY) for name in before):
        # The names have only become known now. What was unpacked wins over the defaults filled in before it.
        decorator.complete()


def _mutate(loaded: LoadedFlow, evaluate: Callable[[Any], Any], early: bool) -> bool:
    """Run the mutators of the flow, then those of its steps."""
    from ..user_decorators.mutable_flow import MutableFlow
    from ..user_decorators.mutable_step import MutableStep

    flow = MutableFlow(loaded.cls, loaded.config_values, loaded.decorators, early)
    method = "pre_mutate" if early else "mutate"
    for mutator in loaded.mutators:
        if not _guard(loaded, _place(loaded, mutator), lambda mutator=mutator: mutator.external_init(evaluate)):
            return False
        if not _guard(loaded, _place(loaded, mutator), lambda mutator=mutator: getattr(mutator, method)(flow)):
            return False
    for name, function in loaded.steps.items():
        for mutator in list(function.config_decorators):
            step = MutableStep(flow, function, name)
            if not _guard(loaded, _place(loaded, mutator), lambda mutator=mutator: mutator.external_init(evaluate)):
                return False
            if not _guard(
                loaded, _place(loaded, mutator), lambda mutator=mutator, step=step: getattr(mutator, method)(step)
            ):
                return False
    return True


def _attach(loaded: LoadedFlow) -> None:
    """Add the decorators of --with to every step that does not have them."""
    from .. import _state
    from .._decorator_table import STEP_DECORATORS
    from ..decorators import Decorator
    from ..user_decorators.common import find
    from ..user_decorators.specs import parse_spec

    for spec in loaded.options.with_specs:
        try:
            name, attributes = parse_spec(spec)
        except ValueError as error:
            loaded.found.add("with-decorator", {}, f"--with {spec}: {error}", "Write it as name:attribute=value,…")
            continue
        user_class = find(name) if name not in STEP_DECORATORS else None
        if name not in STEP_DECORATORS and user_class is None:
            near = _state.nearest(name, list(STEP_DECORATORS))
            loaded.found.add(
                "unknown-decorator",
                {},
                f"--with {spec}: there is no step decorator {name!r}" + (f"; did you mean {near!r}?" if near else ""),
            )
            continue
        for function in loaded.steps.values():
            if user_class is not None:
                present = getattr(function, user_class._field)
                if not any(isinstance(d, user_class) for d in present):
                    decorator = user_class(**attributes)
                    decorator.origin, decorator.place = "with", _COMMAND_LINE
                    present.append(decorator)
                continue
            decorator = Decorator(name, attributes, _COMMAND_LINE, origin="with")
            if decorator.repeatable or all(d.name != name for d in function.decorators):
                decorator.complete()
                function.decorators.append(decorator)
