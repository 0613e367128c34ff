"""Config, the values it holds (ConfigValue) and expressions over configs that are evaluated later (config_expr)."""

from __future__ import annotations

import sys

from .. import _state
from ..decorators import UNPACK_KEY
from ..exception import MetaflowException
from ..parameters import Parameter

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Dict, Iterator, List, NoReturn, Optional, Tuple, Union


class ConfigValue(dict):  # type: ignore[type-arg]
    """A config's data: a dict that cannot be changed and whose keys are attributes too (``config.a.b``)."""

    def __init__(self, data: Any = ()) -> None:
        super().__init__({key: _wrap(value) for key, value in dict(data).items()})

    def to_dict(self) -> Dict[Any, Any]:
        """Return the data as plain dicts."""
        return plain(self)

    def __getattr__(self, key: str) -> Any:
        try:
            return self[key]
        except KeyError:
            raise AttributeError(f"the config has no key {key!r}") from None

    def _refuse(self, *_args: Any, **_kwargs: Any) -> NoReturn:
        raise TypeError("a config cannot be changed")

    __setattr__ = __setitem__ = __delattr__ = __delitem__ = __ior__ = _refuse  # type: ignore[assignment]
    clear = update = setdefault = pop = popitem = _refuse  # type: ignore[assignment]

    def copy(self) -> ConfigValue:
        """Return a copy."""
        return ConfigValue(self)

    def __reduce__(self) -> Tuple[type, Tuple[Dict[Any, Any]]]:
        return ConfigValue, (self.to_dict(),)


def _wrap(value: Any) -> Any:
    if isinstance(value, dict) and not isinstance(value, ConfigValue):
        return ConfigValue(value)
    if isinstance(value, (list, tuple)):
        return type(value)(_wrap(v) for v in value)
    return value


def plain(value: Any) -> Any:
    """Replace every ConfigValue inside `value` by a dict."""
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items()}
    if type(value) in (list, tuple):
        return type(value)(plain(v) for v in value)
    return value


class DelayEvaluator:
    """An expression over configs that is evaluated once they are known. Attributes and items of it are delayed too."""

    def __init__(
        self, expression: str, namespace: Optional[Dict[str, Any]] = None, access: Tuple[Tuple[str, Any], ...] = ()
    ) -> None:
        self._expression = expression
        self._namespace = namespace
        self._access = access

    def __getattr__(self, name: str) -> DelayEvaluator:
        if name.startswith("__"):
            raise AttributeError(name)
        return DelayEvaluator(self._expression, self._namespace, (*self._access, ("attribute", name)))

    def __getitem__(self, key: Any) -> Any:
        if isinstance(key, str) and key.startswith(UNPACK_KEY):
            return self
        return DelayEvaluator(self._expression, self._namespace, (*self._access, ("item", key)))

    def keys(self) -> List[str]:
        """Make ``**config.value`` pass this expression on, under a key that says so."""
        return [f"{UNPACK_KEY}{id(self)}"]

    def __iter__(self) -> Iterator[str]:
        return iter(self.keys())

    def evaluate(self, configs: Dict[str, Any]) -> Any:
        """Compute the value; `configs` are the configs' values by their name. Raises MetaflowException."""
        try:
            if self._expression in configs:
                value = configs[self._expression]
            else:
                value = eval(self._expression, dict(self._namespace or {}), dict(configs))  # noqa: S307 (the user's)
            for kind, key in self._access:
                key = key.evaluate(configs) if isinstance(key, DelayEvaluator) else key
                value = getattr(value, key) if kind == "attribute" else value[key]
        except MetaflowException:
            raise
        except Exception as error:
            raise MetaflowException(
                f"the config expression {self} could not be evaluated: {type(error).__name__}: {error}"
            ) from error
        return value

    def __repr__(self) -> str:
        text = self._expression
        for kind, key in self._access:
            text += f".{key}" if kind == "attribute" else f"[{key!r}]"
        return text


def config_expr(expr: str) -> DelayEvaluator:
    """Make an expression over configs, by their names, for places where the config itself is out of reach."""
    return DelayEvaluator(expr, sys._getframe(1).f_globals)


def resolve(value: Any, configs: Dict[str, Any]) -> Any:
    """Replace every DelayEvaluator inside `value` by its value, as plain data."""
    if isinstance(value, DelayEvaluator):
        return plain(value.evaluate(configs))
    if isinstance(value, Config):
        return plain(DelayEvaluator(value.name).evaluate(configs))
    if type(value) is dict:
        result: Dict[Any, Any] = {}
        for key, item in value.items():
            item = resolve(item, configs)
            if isinstance(key, str) and key.startswith(UNPACK_KEY):
                result.update(item)
            else:
                result[resolve(key, configs)] = item
        return result
    if type(value) in (list, tuple, set):
        return type(value)(resolve(v, configs) for v in value)
    return value


class Config(Parameter):
    """A file or value that is known before the graph is built and can shape decorators, parameters and switch keys.

    `default` is the path of a file, `default_value` a value or JSON text; a function of either is called. `parser`, a
    function or its dotted name, reads the text in place of JSON. With `plain` the value is not made a ConfigValue.
    """

    IS_CONFIG_PARAMETER = True

    def __init__(
        self,
        name: str,
        default: Optional[Union[str, Callable[..., str]]] = None,
        default_value: Any = None,
        help: Optional[str] = None,  # noqa: A002 (Metaflow's name)
        required: Optional[bool] = None,
        parser: Optional[Union[str, Callable[[str], Any]]] = None,
        plain: bool = False,
        **kwargs: Any,
    ) -> None:
        show_default = kwargs.pop("show_default", None)
        super().__init__(name, help=help, required=required, show_default=show_default, **kwargs)
        self.default = default
        self.default_value = default_value  # type: ignore[assignment]
        self.parser = parser
        self.plain = plain
        if default is not None and default_value is not None:
            self.fail(f"config {name!r} has both default (a file) and default_value; one of them is enough")
        for key in self.rest:
            self._unknown(key)
        self.rest = {}

    def _unknown(self, key: str) -> None:
        known = ["default", "default_value", "help", "required", "parser", "plain", "show_default"]
        near = _state.nearest(key, known)
        self.fail(
            f"config {self.name!r} has no option {key!r}" + (f"; did you mean {near!r}?" if near else ""),
            "The options are " + ", ".join(known),
        )

    def read(self, text: str) -> Any:
        """Turn the text of a file or of a value into the config's data. Raises ValueError when it cannot be read."""
        if self.parser is not None:
            value = find_parser(self.parser)(text)
            if not self.plain and not isinstance(value, dict):
                raise ValueError(f"its parser returned a {type(value).__name__}, not a dict (or say plain=True)")
            return value
        if self.plain:
            return text
        import json

        return json.loads(text)

    def wrap(self, value: Any) -> Any:
        """Return the value as the flow's code sees it."""
        return _wrap(value) if not self.plain else value

    def keys(self) -> List[str]:
        """Make ``**config`` work before the value is known."""
        return DelayEvaluator(self.name).keys()

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(DelayEvaluator(self.__dict__["name"]), name)

    def __getitem__(self, key: Any) -> Any:
        return DelayEvaluator(self.name)[key]


def find_parser(parser: Any) -> Callable[[str], Any]:
    """Return the function that a parser names. Raises ValueError when there is none."""
    if callable(parser):
        return parser
    import importlib

    path = "metaflow" + parser if parser.startswith(".") else parser
    module, _, name = path.rpartition(".")
    try:
        function = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ValueError(f"its parser {parser!r} cannot be found: {error}") from error
    if not callable(function):
        raise ValueError(f"its parser {parser!r} is not a function")
    return function
