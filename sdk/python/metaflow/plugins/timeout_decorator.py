"""What @timeout raises in the body of a step."""

from __future__ import annotations

from ..exception import MetaflowException


class TimeoutException(MetaflowException):
    """The step took longer than its @timeout allows."""

    headline = "@timeout"
