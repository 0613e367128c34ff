"""Parameters of a flow: what the user may say for a run, and how a text becomes the value."""

from __future__ import annotations

from . import _state
from ._state import DefinitionError
from .exception import MetaflowException, ParameterFieldFailed, ParameterFieldTypeMismatch

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Dict, Optional


class ParameterContext:
    """What a function that computes a default is told."""

    __slots__ = ("configs", "ds_type", "flow_name", "logger", "parameter_name", "user_name")

    def __init__(
        self,
        flow_name: str,
        user_name: str,
        parameter_name: str,
        logger: Callable[..., None] = print,
        ds_type: str = "local",
        configs: Any = None,
    ) -> None:
        self.flow_name = flow_name
        self.user_name = user_name
        self.parameter_name = parameter_name
        self.logger = logger
        self.ds_type = ds_type
        self.configs = configs


class JSONTypeClass:
    """The type of a parameter that is given as JSON text."""

    name = "JSON"

    def __repr__(self) -> str:
        return "JSON"


JSONType = JSONTypeClass()

#: Words that a flow's command line or an engine keeps for itself are checked by the compiler, not here.
_PLAIN_TYPES = {str: "string", int: "int", float: "float", bool: "bool", dict: "json", list: "json"}
_EXAMPLES = {"int": "a whole number", "float": "a number", "bool": "true or false", "json": "JSON"}
_TRUE = frozenset({"true", "t", "1", "yes", "y", "on"})
_FALSE = frozenset({"false", "f", "0", "no", "n", "off"})
#: Options of Metaflow's command line library that only change its help text.
_IGNORED = frozenset({"hidden", "metavar", "show_envvar"})


class Parameter:
    """An input of the flow, a class variable of it: ``alpha = Parameter("alpha", default=0.5, help="…")``.

    `type` is str, int, float, bool or JSONType; without it the type of the default, else str. A function as `default`
    is called with a ParameterContext when the flow is run or deployed. `separator` splits a text into a list.
    """

    IS_CONFIG_PARAMETER = False

    def __init__(
        self,
        name: str,
        default: Any = None,
        type: Any = None,  # noqa: A002 (Metaflow's name)
        help: Optional[str] = None,  # noqa: A002 (Metaflow's name)
        required: Optional[bool] = None,
        show_default: Optional[bool] = None,
        **kwargs: Any,
    ) -> None:
        self.place = _state.caller()
        self.name = name
        self.default = default
        self.type = type
        self.help = help
        self.required = required
        self.show_default = show_default
        self.separator: Optional[str] = kwargs.pop("separator", None)
        for key in [k for k in kwargs if k in _IGNORED]:
            kwargs.pop(key)
        #: What ``**config.value`` left; `resolve` empties it.
        self.rest: Dict[str, Any] = kwargs
        if not isinstance(name, str) or not name:
            self.fail("the name of a parameter must be a text that is not empty, not " + repr(name))
            self.name = str(name)

    def fail(self, message: str, detail: str = "", code: str = "parameter-definition") -> None:
        """Report a mistake in the definition."""
        _state.report(DefinitionError(code, message, detail, self.place))

    def resolve(self, evaluate: Callable[[Any], Any]) -> None:
        """Put in values of configs (`evaluate` replaces them), then check the definition. Reports what is wrong."""
        for key, value in self._given().items():
            value = evaluate(value)
            if hasattr(self, key) and not key.startswith("_") and not callable(getattr(Parameter, key, None)):
                if getattr(self, key) is None or key not in self.rest:
                    setattr(self, key, value)
            else:
                self._unknown(key)
        self.rest = {}
        for field in ("show_default", "separator", "required"):
            if callable(getattr(self, field)):
                self.fail(f"parameter {self.name!r}: {field} cannot be a function")
                setattr(self, field, None)
        if self.separator and self.kind != "string":
            self.fail(f"parameter {self.name!r} has a separator, but its type is {self.kind}", "Only a text is split")
            self.separator = None

    def _given(self) -> Dict[str, Any]:
        fields = ("default", "type", "help", "required", "show_default", "separator")
        given = {name: getattr(self, name) for name in fields}
        given.update({k: v for k, v in self.rest.items() if given.get(k) is None})
        return given

    def _unknown(self, key: str) -> None:
        known = ["default", "type", "help", "required", "show_default", "separator"]
        near = _state.nearest(key, known)
        self.fail(
            f"parameter {self.name!r} has no option {key!r}" + (f"; did you mean {near!r}?" if near else ""),
            "The options are " + ", ".join(known),
        )

    @property
    def kind(self) -> str:
        """The type by its name in mf: string, int, float, bool, json or file; empty when it is none of these."""
        kind: Any = self.type
        if kind is None:
            kind = str if self.default is None or callable(self.default) else type(self.default)
        if kind is JSONTypeClass or isinstance(kind, JSONTypeClass):
            return "json"
        try:
            return _PLAIN_TYPES.get(kind, "")
        except TypeError:
            return ""

    @property
    def is_string_type(self) -> bool:
        """Whether the value is a text."""
        return self.kind == "string"

    def convert(self, text: str) -> Any:
        """Turn what the user gave into the value. Raises MetaflowException that names the parameter."""
        value = self._convert(text)
        return value.split(self.separator) if self.separator and value else value

    def _convert(self, text: str) -> Any:
        kind = self.kind
        try:
            if kind == "int":
                return int(text)
            if kind == "float":
                return float(text)
            if kind == "json":
                import json

                return json.loads(text)
        except ValueError:
            pass
        if kind == "bool":
            word = text.strip().lower()
            if word in _TRUE or word in _FALSE:
                return word in _TRUE
        if kind not in _EXAMPLES:
            return text
        raise MetaflowException(f"parameter {self.name!r} takes {_EXAMPLES[kind]}, not {text!r}")

    def default_value(self, context: Optional[ParameterContext] = None) -> Any:
        """Return the default as a value; a function is called with `context`. None when there is no default.

        Raises MetaflowException when the function fails or the value does not fit the type.
        """
        value = self.unsplit_default(context)
        return value.split(self.separator) if self.separator and isinstance(value, str) and value else value

    def unsplit_default(self, context: Optional[ParameterContext] = None) -> Any:
        """Return the default as `default_value` does, but a text before `separator` splits it."""
        value = self.default
        if callable(value):
            if context is not None:
                context.parameter_name = self.name
            value = self._call(value, context)
        if value is None:
            return None
        return self._convert(value) if isinstance(value, str) else self._fit(value)

    def _call(self, function: Callable[..., Any], context: Optional[ParameterContext]) -> Any:
        code = getattr(function, "__code__", None)
        arguments = [context]
        if code is not None and code.co_argcount - len(getattr(function, "__defaults__", None) or ()) >= 2:
            arguments.append(False)  # type: ignore[arg-type]  # Metaflow's second argument, deploy_time
        try:
            value = function(*arguments)
        except Exception as error:
            raise ParameterFieldFailed(self.name, "default") from error
        expected = {"int": int, "float": float, "bool": bool, "string": str}.get(self.kind)
        if expected is not None and type(value) is not expected:
            raise ParameterFieldTypeMismatch(
                f"the function for the default of parameter {self.name!r} returned a {type(value).__name__}, "
                f"but the parameter's type is {expected.__name__}"
            )
        return value

    def _fit(self, value: Any) -> Any:
        kind = self.kind
        try:
            if kind == "int":
                return int(value)
            if kind == "float":
                return float(value)
            if kind == "bool":
                return bool(value)
        except (TypeError, ValueError):
            raise MetaflowException(
                f"the default of parameter {self.name!r} is {value!r}, but its type is {kind}"
            ) from None
        return str(value) if kind == "string" and not isinstance(value, str) else value

    def __repr__(self) -> str:
        return f"metaflow.{type(self).__name__}(name={self.name!r})"

    def __getitem__(self, key: Any) -> Any:
        """Keeps linters quiet about ``self.param["key"]``; at run time the value is there instead."""
        raise TypeError(f"parameter {self.name!r} has no value while the flow is being defined")
