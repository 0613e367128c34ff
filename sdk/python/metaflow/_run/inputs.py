"""The inputs of a join."""

from __future__ import annotations

from metaflow.exception import MetaflowException

from . import artifacts
from .artifacts import ForeachFrame
from .task import Context

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Any

    from .protocol import Message


class InputContext(Context):
    """Behind one input: a flow instance that shows the artifacts of a finished task."""

    def __init__(self, task: Any, position: int, given: Message) -> None:
        super().__init__(task.channel, given.get("artifacts") or {})
        #: The index of this input in the job.
        self.position = position
        self._task = task
        self._given = given
        self._frames: list[ForeachFrame] | None = None

    @property
    def frames(self) -> list[ForeachFrame]:
        """The foreach stack of the input's task."""
        if self._frames is None:
            digest = self.digests.get("_foreach_stack")
            self._frames = [] if digest is None else artifacts.fetch(self.channel, "_foreach_stack", digest)
        return self._frames

    def get_artifact(self, name: str) -> Any:
        """See TaskContext."""
        if name in self._task.read_only:
            return self._task.read_only_value(name)
        digest = self.digests.get(name)
        if digest is None:
            if name == "_current_step":
                return self._given.get("step")
            raise AttributeError("the input from step '{}' has no artifact '{}'".format(self._given.get("step"), name))
        return artifacts.fetch(self.channel, name, digest)

    def foreach_values(self, name: str) -> Any:
        """See Context."""
        return self.get_artifact(name)

    def next(self, targets: Any, **options: Any) -> None:
        """Inputs are finished tasks: they go nowhere."""
        raise MetaflowException("call self.next(), not next() of an input")

    def merge_artifacts(self, inputs: Any, exclude: Sequence[str] | None, include: Sequence[str] | None) -> None:
        """Inputs are finished tasks: nothing can be merged into them."""
        raise MetaflowException("call self.merge_artifacts(inputs), not merge_artifacts() of an input")


class Inputs:
    """The inputs of a join: iterate, index, or name a step: ``inputs[0].x``, ``inputs.left.x``.

    In the order of the foreach's items, or of the branches in the splitting step's self.next().
    """

    def __init__(self, task: Any) -> None:
        self._task = task
        self._made: dict[int, Any] = {}

    def _input(self, index: int) -> Any:
        flow = self._made.get(index)
        if flow is None:
            flow = self._task.new_flow()
            flow.__dict__["_mf_task"] = InputContext(self._task, index, self._task.inputs[index])
            self._made[index] = flow
        return flow

    def __len__(self) -> int:
        return len(self._task.inputs)

    def __iter__(self) -> Iterator[Any]:
        return (self._input(index) for index in range(len(self)))

    def __getitem__(self, index: Any) -> Any:
        chosen = range(len(self))[index]
        return [self._input(i) for i in chosen] if isinstance(chosen, range) else self._input(chosen)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        steps = [given.get("step") for given in self._task.inputs]
        for index in range(len(steps) - 1, -1, -1):
            if steps[index] == name:
                return self._input(index)
        known = ", ".join(dict.fromkeys(str(step) for step in steps))
        raise AttributeError(f"join '{self._task.step}' has no input from step '{name}'; its inputs come from: {known}")

    @property
    def flows(self) -> list[Any]:
        """All inputs as a list."""
        return list(self)
