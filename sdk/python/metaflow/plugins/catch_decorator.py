"""What @catch raises when it handles a failure that left no exception behind."""

from __future__ import annotations

from ..exception import MetaflowException


class FailureHandledByCatch(MetaflowException):
    """The task failed all its attempts without an exception, and @catch went on."""

    headline = "Task execution failed but @catch handled it"

    def __init__(self, retry_count: int) -> None:
        super().__init__(f"the task failed {retry_count} times without an exception; @catch handled it")
