"""The object behind a flow instance while its step runs: metaflow._contract.TaskContext."""

from __future__ import annotations

from itertools import islice

from metaflow.exception import MetaflowException
from metaflow.includefile import IncludedFile

from . import artifacts, merge, transition
from .artifacts import ForeachFrame
from .protocol import ProtocolError, TaskChannel

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from .protocol import Message

#: `_foreach_var` of a gang: its items are the node indices.
GANG_VARIABLE = "_parallel_ubf_iter"


def item_at(values: Any, index: int | None) -> Any:
    """Return the element of a foreach's artifact: by index, or by iterating where there is no indexing."""
    if index is None:
        return None
    try:
        return values[index]
    except TypeError:
        return next(islice(values, index, index + 1))


class Context:
    """What a task and an input of a join have in common: artifacts by digest and a foreach stack."""

    def __init__(self, channel: TaskChannel, digests: dict[str, str]) -> None:
        self.channel = channel
        self.digests = digests
        self._items: dict[int, Any] = {}

    @property
    def frames(self) -> list[ForeachFrame]:
        """The foreach stack, outermost first."""
        raise NotImplementedError

    def foreach_values(self, name: str) -> Any:
        """Return the artifact that a foreach goes over; raises AttributeError when it is out of reach."""
        raise NotImplementedError

    @property
    def index(self) -> int | None:
        """See TaskContext."""
        return self.frames[-1].index if self.frames else None

    @property
    def input(self) -> Any:
        """See TaskContext."""
        return self._item(len(self.frames) - 1) if self.frames else None

    def foreach_stack(self) -> list[tuple[int, int, Any]]:
        """See TaskContext."""
        return [(f.index, f.num_splits, self._item(level)) for level, f in enumerate(self.frames)]  # type: ignore[misc]

    def _item(self, level: int) -> Any:
        if level not in self._items:
            frame = self.frames[level]
            if frame.var == GANG_VARIABLE:
                self._items[level] = frame.index or 0
            else:
                try:
                    values = self.foreach_values(str(frame.var))
                except AttributeError:  # in a join of an inner foreach, the outer one's values are not passed on
                    self._items[level] = None
                else:
                    self._items[level] = item_at(values, frame.index)
        return self._items[level]


class Task(Context):
    """One running task."""

    def __init__(self, loaded: Any, channel: TaskChannel, job: Message, flow: Any) -> None:
        self.job = job
        self.flow = flow
        self.step: str = job["step"]
        self.inputs: list[Message] = job.get("inputs") or []
        self.read_only = frozenset(job.get("parameters") or [])
        self.transition: Message | None = None
        #: Values of artifacts that were fetched, by name.
        self.loaded: dict[str, Any] = {}
        #: Artifacts that merge_artifacts took over: the index of the input they come from.
        self.merged: dict[str, int] = {}
        self._flow_parts = loaded
        self._read_only_values: dict[str, Any] = {}
        self._foreach_values: dict[str, Any] = {}
        self._fingerprints: dict[str, list[tuple[Any, bytes]]] = {}
        self._frames = [ForeachFrame(*frame) for frame in job.get("foreach_stack") or []]
        super().__init__(channel, self._initial_digests())

    def _initial_digests(self) -> dict[str, str]:
        source = self.inputs[0] if self.inputs else self.job.get("parameters_task") or {}
        digests: dict[str, str] = source.get("artifacts") or {}
        if not self.job.get("join"):
            return digests
        passed_on = self.read_only | {"_graph_info"}
        return {name: digest for name, digest in digests.items() if name in passed_on}

    @property
    def frames(self) -> list[ForeachFrame]:
        """See Context."""
        return self._frames

    def get_artifact(self, name: str) -> Any:
        """See TaskContext."""
        if name in self.read_only:
            return self.read_only_value(name)
        if name in artifacts.RUNTIME_ARTIFACTS and name != "_graph_info":
            return self._runtime_artifact(name)
        if name in self._foreach_values:
            value = self._foreach_values[name]
        else:
            digest = self.digests.get(name)
            if digest is None:
                raise AttributeError(self._missing(name))
            value = artifacts.fetch(self.channel, name, digest)
        self.loaded[name] = value
        return value

    def _missing(self, name: str) -> str:
        text = f"flow {type(self.flow).__name__} has no attribute '{name}'"
        if self.job.get("join") and any(name in (i.get("artifacts") or {}) for i in self.inputs):
            text += f"; a join gets artifacts through its inputs: inputs[0].{name}, or self.merge_artifacts(inputs)"
        elif not self.job.get("join"):
            text += f": no step before '{self.step}' has set self.{name}"
        return text

    def _runtime_artifact(self, name: str) -> Any:
        iteration = self.job.get("iteration")
        values = {
            "_current_step": self.step,
            "_foreach_stack": list(self._frames),
            "_iteration_stack": [] if iteration is None else [iteration],
            "_foreach_var": None,
            "_foreach_num_splits": None,
            "_transition": None,
            "_task_ok": None,
            "_success": False,
            "_exception": None,
        }
        if name in values:
            return values[name]
        digest = self.digests.get(name)
        if digest is None:
            raise AttributeError(self._missing(name))
        return artifacts.fetch(self.channel, name, digest)

    def read_only_value(self, name: str) -> Any:
        """Return the value of a parameter, config or constant."""
        values = self._read_only_values
        if name not in values:
            values[name] = self._load_read_only(name)
        return values[name]

    def _load_read_only(self, name: str) -> Any:
        constants = self._flow_parts.constants
        if name in constants:
            return constants[name]
        digest = self.digests.get(name)
        if digest is None:
            source = (self.job.get("parameters_task") or {}).get("artifacts") or {}
            digest = source.get(name)
        if digest is None:
            raise AttributeError(f"the run has no value for parameter '{name}'")
        value = artifacts.fetch(self.channel, name, digest)
        if isinstance(value, IncludedFile):
            return self._included(name, value.descriptor)
        config = self._flow_parts.config_objects.get(name)
        return value if config is None else config.wrap(value)

    def _included(self, name: str, descriptor: dict[str, Any]) -> Any:
        try:
            answer, data = self.channel.request({"op": "file", "descriptor": descriptor})
        except ProtocolError as error:
            raise artifacts.LoadError(f"the file of parameter '{name}' could not be read: {error}") from None
        content: Any = artifacts.read_bytes(answer, data)
        if descriptor.get("is_text", True):
            encoding = descriptor.get("encoding") or "utf-8"
            try:
                content = _universal_newlines(content.decode(encoding))
            except UnicodeDecodeError as error:
                raise artifacts.LoadError(f"the file of parameter '{name}' is not {encoding}: {error}") from None
        parse = getattr(self._flow_parts.parameters.get(name), "parse", None)
        if parse is None:
            return content
        try:
            return parse(content)
        except Exception as error:
            reason = f"{type(error).__name__}: {error}"
            raise MetaflowException(f"the parser of parameter '{name}' failed: {reason}") from error

    def foreach_values(self, name: str) -> Any:
        """See Context. The body does not see that the artifact was fetched unless it touches it."""
        held = self.flow.__dict__
        if name in held:
            return held[name]
        if name in self.read_only or name not in self.digests:
            return getattr(self.flow, name)
        if name not in self._foreach_values:
            self._foreach_values[name] = artifacts.fetch(self.channel, name, self.digests[name])
        return self._foreach_values[name]

    def _item(self, level: int) -> Any:
        known = level in self._items
        item = super()._item(level)
        name = str(self._frames[level].var)
        if not known and name in self._foreach_values and not artifacts.unchangeable(item):
            fingerprint = artifacts.fingerprint(item)
            self._fingerprints.setdefault(name, []).append((item, fingerprint))
        return item

    def note_changed_items(self) -> None:
        """Where the body changed its foreach item in place, have the artifact that holds it stored again."""
        for name, items in self._fingerprints.items():
            if name in self.flow.__dict__:
                continue
            if any(artifacts.fingerprint(item) != before for item, before in items):
                self.flow.__dict__[name] = self._foreach_values[name]

    def next(
        self,
        targets: tuple[Any, ...],
        *,
        foreach: Any | None = None,
        num_parallel: Any | None = None,
        condition: Any | None = None,
    ) -> None:
        """See TaskContext."""
        options = {"foreach": foreach, "num_parallel": num_parallel, "condition": condition}
        self.transition = transition.compute(self, targets, options)

    def new_flow(self) -> Any:
        """Return another instance of the flow's class."""
        return self._flow_parts.new_instance()

    def check_transition(self) -> None:
        """Raise unless the body has called self.next() where the step has one."""
        transition.check_called(self)

    def merge_artifacts(self, inputs: Any, exclude: Sequence[str] | None, include: Sequence[str] | None) -> None:
        """See TaskContext."""
        merge.merge_artifacts(self, inputs, exclude or [], include or [])

    def send_references(self) -> None:
        """Post the artifacts that were merged and not replaced since."""
        for name, index in self.merged.items():
            self.channel.post({"op": "ref", "name": name, "input": index})


def _universal_newlines(text: str) -> str:
    """Do what reading a file in text mode does."""
    return text.replace("\r\n", "\n").replace("\r", "\n") if "\r" in text else text
