"""The exceptions that flows and users of the client catch, under the names that Metaflow gives them."""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict, Optional, Sequence, Tuple


class MetaflowExceptionWrapper(Exception):
    """An exception of a task in a form that can be stored: its text, its type and its traceback as text.

    The pickle of this class is part of the artifact format (``_exception``).
    """

    def __init__(self, exc: Optional[BaseException] = None) -> None:
        if exc is not None:
            self.exception = str(exc)
            self.type = f"{type(exc).__module__}.{type(exc).__name__}"
            self.stacktrace: Optional[str] = None
            if sys.exc_info()[0] is not None:
                import traceback

                self.stacktrace = traceback.format_exc()

    def __reduce__(self) -> Tuple[type, Tuple[None], Dict[str, Any]]:
        return MetaflowExceptionWrapper, (None,), self.__dict__

    def __getstate__(self) -> Dict[str, Any]:
        return self.__dict__

    def __setstate__(self, state: Dict[str, Any]) -> None:
        self.__dict__ = state

    def __repr__(self) -> str:
        return str(self)

    def __str__(self) -> str:
        if self.stacktrace:
            return self.stacktrace
        return f"[no stacktrace]\n{self.type}: {self.exception}"


class MetaflowException(Exception):
    """Base of everything that the SDK raises on purpose."""

    headline = "Flow failed"

    def __init__(self, msg: str = "", lineno: Optional[int] = None, source_file: Optional[str] = None) -> None:
        self.message = msg
        self.line_no = lineno
        self.source_file = source_file
        super().__init__()

    def __str__(self) -> str:
        place = ""
        if self.source_file:
            place = f"{self.source_file}: "
        if self.line_no:
            place += f"line {self.line_no}: "
        return place + self.message


class ParameterFieldFailed(MetaflowException):
    """A function that computes a field of a parameter raised."""

    headline = "Parameter field failed"

    def __init__(self, name: str, field: str) -> None:
        import traceback

        super().__init__(f"the function for {field!r} of parameter {name!r} raised:\n{traceback.format_exc()}")


class ParameterFieldTypeMismatch(MetaflowException):
    """A function that computes a field of a parameter returned a value of the wrong type."""

    headline = "Parameter field with a mismatching type"


class ExternalCommandFailed(MetaflowException):
    """A command that was run on behalf of the flow failed."""

    headline = "External command failed"


class MetaflowNotFound(MetaflowException):
    """The object asked for does not exist."""

    headline = "Object not found"


class MetaflowNamespaceMismatch(MetaflowException):
    """The object exists, but not in the current namespace."""

    headline = "Object not in the current namespace"

    def __init__(self, namespace: Optional[str]) -> None:
        super().__init__(f"Object not in namespace '{namespace}'")


class MetaflowInvalidPathspec(MetaflowException):
    """The text is not a pathspec such as Flow/run/step/task."""

    headline = "Invalid pathspec"


class MetaflowInternalError(MetaflowException):
    """Something that should not happen."""

    headline = "Internal error"


class MetaflowTaggingError(MetaflowException):
    """A tag is not allowed."""

    headline = "Tagging error"


class MetaflowUnknownUser(MetaflowException):
    """No user name could be found."""

    headline = "Unknown user"

    def __init__(self) -> None:
        super().__init__("the user name is unknown: set METAFLOW_USER or USER in the environment")


class InvalidDecoratorAttribute(MetaflowException):
    """A decorator was given an attribute that it does not have."""

    headline = "Unknown decorator attribute"

    def __init__(self, deconame: str, attr: str, defaults: Sequence[str]) -> None:
        super().__init__(f"decorator @{deconame} has no attribute {attr!r}; it has: {', '.join(defaults)}")


class CommandException(MetaflowException):
    """A command was given wrong arguments."""

    headline = "Invalid command"


class MetaflowDataMissing(MetaflowException):
    """Data that should be there is not."""

    headline = "Data missing"


class UnhandledInMergeArtifactsException(MetaflowException):
    """merge_artifacts met artifacts that differ between the inputs; `artifact_names` lists them."""

    headline = "Unhandled artifacts in merge"

    def __init__(self, msg: str, unhandled: Sequence[str]) -> None:
        super().__init__(msg)
        self.artifact_names = unhandled


class MissingInMergeArtifactsException(MetaflowException):
    """merge_artifacts was told to include artifacts that no input has; `artifact_names` lists them."""

    headline = "Missing artifacts in merge"

    def __init__(self, msg: str, unhandled: Sequence[str]) -> None:
        super().__init__(msg)
        self.artifact_names = unhandled
