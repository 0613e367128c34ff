"""Decorators around the body of a step, and mutators that change a step's decorators."""

from __future__ import annotations

from ..exception import MetaflowException
from .common import UserDecorator

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Dict, Optional, Union

    from .mutable_step import MutableStep

#: What a user_step_decorator yields to skip the step.
USER_SKIP_STEP: Dict[str, Any] = {}


class UserStepDecorator(UserDecorator):
    """Derive from this class to run code before and after the body of a step."""

    _field = "wrappers"

    def pre_step(self, step_name: str, flow: Any, inputs: Optional[Any] = None) -> Optional[Callable[..., Any]]:
        """Run before the body; a function that is returned replaces the body."""
        return None

    def post_step(self, step_name: str, flow: Any, exception: Optional[Exception] = None) -> Any:
        """Run after the body; return the exception to raise (None for none), or that and arguments for self.next."""
        return (exception, None) if exception else (None, None)

    @property
    def skip_step(self) -> Union[bool, Dict[str, Any]]:
        """Whether the body is skipped: False, True, or the arguments for self.next."""
        return getattr(self, "_skip_step", False)

    @skip_step.setter
    def skip_step(self, value: Union[bool, Dict[str, Any]]) -> None:
        self._skip_step = value


def user_step_decorator(*args: Any, **kwargs: Any) -> Any:
    """Make a step decorator of a generator function of (step_name, flow, inputs[, attributes]) that yields once."""
    if not args:
        return lambda function: user_step_decorator(function, **kwargs)
    function = args[0]
    code = getattr(function, "__code__", None)
    if code is None or not code.co_flags & 0x20:  # CO_GENERATOR
        raise MetaflowException("@user_step_decorator belongs on a generator function: one that yields")
    count = code.co_argcount
    if count not in (3, 4):
        raise MetaflowException(
            "the function below @user_step_decorator takes (step_name, flow, inputs) or "
            "(step_name, flow, inputs, attributes)"
        )
    return type(UserStepDecorator)(
        function.__name__,
        (_GeneratorDecorator,),
        {
            "_decorator_name": f"{function.__module__}.{function.__name__}",
            "_function": staticmethod(function),
            "_takes_attributes": count == 4,
            "__module__": function.__module__,
            "__doc__": function.__doc__,
        },
    )


class _GeneratorDecorator(UserStepDecorator):
    """A UserStepDecorator whose code is a generator function."""

    _function: Callable[..., Any]
    _takes_attributes = False

    def init(self, *args: Any, **kwargs: Any) -> None:
        if args:
            raise MetaflowException(f"@{type(self).__name__} takes named arguments only")
        if kwargs and not self._takes_attributes:
            raise MetaflowException(f"@{type(self).__name__} takes no arguments: its function has no 'attributes'")

    def pre_step(self, step_name: str, flow: Any, inputs: Optional[Any] = None) -> Optional[Callable[..., Any]]:
        arguments = (step_name, flow, inputs, self._kwargs) if self._takes_attributes else (step_name, flow, inputs)
        self._generator = self._function(*arguments)
        try:
            value = next(self._generator)
        except StopIteration:
            # It did not yield: the body is not run.
            self._generator = None
            self.skip_step = True
            return None
        if isinstance(value, dict):
            self.skip_step = value or True
            return None
        return value

    def post_step(self, step_name: str, flow: Any, exception: Optional[Exception] = None) -> Any:
        if self._generator is None:
            return exception, None
        try:
            if exception:
                self._generator.throw(exception)
            else:
                next(self._generator)
        except StopIteration as stop:
            return stop.value
        except Exception as error:
            return error, None
        return MetaflowException(f"@{type(self).__name__} yields more than once"), None


class StepMutator(UserDecorator):
    """Derive from this class to change the decorators of a step before the flow runs."""

    _field = "config_decorators"

    def pre_mutate(self, mutable_step: MutableStep) -> None:
        """Change the step as soon as configs are known."""

    def mutate(self, mutable_step: MutableStep) -> None:
        """Change the step once everything else has been applied, --with included."""
