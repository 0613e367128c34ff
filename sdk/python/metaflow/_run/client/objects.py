"""The objects of the client: Metaflow, Flow, Run, Step, Task and DataArtifact."""

from __future__ import annotations

from collections import namedtuple
from datetime import datetime

from metaflow.exception import (
    MetaflowException,
    MetaflowInvalidPathspec,
    MetaflowNotFound,
)

from . import namespaces
from .base import MetaflowObject

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Any

#: One piece of metadata of a task.
Metadata = namedtuple("Metadata", ["name", "value", "created_at", "type", "task"])


class DataArtifact(MetaflowObject):
    """One artifact of a task."""

    _depth = 5

    def _read(self) -> dict[str, Any] | None:
        return namespaces.layout().artifacts(self._parts[:4], self._attempt).get(self._parts[4])

    @property
    def data(self) -> Any:
        """The value."""
        return namespaces.layout().load(self._object)

    @property
    def size(self) -> int | None:
        """Size of the value's pickle in bytes, or of an included file."""
        layout, task = namespaces.layout(), self._parts[:4]
        if layout.is_included(task, self._object):
            return layout.included_size(self._object)
        return layout.size(task, self._object)

    @property
    def sha(self) -> str:
        """SHA-1 of the value's pickle."""
        return str(self._object["sha"])

    @property
    def finished_at(self) -> datetime:
        """When the task had made it."""
        return self.created_at

    def __iter__(self) -> Iterator[Any]:
        raise TypeError("an artifact holds no other objects; its value is in .data")


class MetaflowData:
    """Artifacts of a task as attributes: ``task.data.x`` is the value of x."""

    def __init__(self, artifacts: Iterable[DataArtifact]) -> None:
        self._artifacts = {artifact.id: artifact for artifact in artifacts}

    def __getattr__(self, name: str) -> Any:
        artifacts = self.__dict__.get("_artifacts", {})
        if name not in artifacts:
            raise AttributeError(f"the task has no artifact '{name}'; it has: {', '.join(sorted(artifacts))}")
        return artifacts[name].data

    def __contains__(self, name: str) -> bool:
        return name in self._artifacts

    def __dir__(self) -> list[str]:
        return list(self._artifacts)

    def __repr__(self) -> str:
        return f"<MetaflowData: {', '.join(sorted(self._artifacts))}>"


class Task(MetaflowObject):
    """One task. Its children are artifacts; those whose names start with an underscore are reached by name only."""

    _depth = 4
    _child_class = DataArtifact

    def _children(self) -> Iterator[DataArtifact]:
        found = namespaces.layout().artifacts(self._parts, self._attempt)
        for name, artifact in sorted(found.items(), key=lambda pair: (pair[1].get("ts_epoch") or 0, pair[0])):
            if not name.startswith("_"):
                yield DataArtifact(f"{self.pathspec}/{name}", self._attempt, artifact, _namespace_check=False)

    def __getitem__(self, key: str) -> DataArtifact:
        try:
            return DataArtifact(f"{self.pathspec}/{key}", self._attempt, _namespace_check=False)
        except (MetaflowNotFound, MetaflowInvalidPathspec):
            raise KeyError(key) from None

    def _value(self, name: str, default: Any = None) -> Any:
        return self[name].data if name in self else default

    @property
    def data(self) -> MetaflowData:
        """The artifacts' values, as attributes."""
        return MetaflowData(self)

    @property
    def artifacts(self) -> Any:
        """The artifacts as a named tuple of DataArtifacts."""
        found = {artifact.id: artifact for artifact in self if artifact.id.isidentifier()}
        return namedtuple("MetaflowArtifacts", list(found))(**found)

    @property
    def metadata(self) -> list[Metadata]:
        """All metadata, newest first."""
        return [
            Metadata(
                name=found.get("field_name"),
                value=found.get("value"),
                created_at=found.get("ts_epoch"),
                type=found.get("type"),
                task=self,
            )
            for found in namespaces.layout().metadata(self._parts)
        ]

    @property
    def metadata_dict(self) -> dict[str, Any]:
        """The newest value of each metadata field."""
        return {found.name: found.value for found in reversed(self.metadata)}

    @property
    def index(self) -> int | None:
        """Index in the innermost foreach; None outside."""
        stack = self._value("_foreach_stack")
        return stack[-1].index if stack else None

    @property
    def successful(self) -> bool:
        """Whether the step's body succeeded."""
        return bool(self._value("_success", False))

    @property
    def finished(self) -> bool:
        """Whether the task is done, be it that @catch caught its exception."""
        return bool(self._value("_task_ok", False))

    @property
    def exception(self) -> Any:
        """The exception that ended the task; None if none did."""
        return self._value("_exception")

    @property
    def finished_at(self) -> datetime | None:
        """When the task ended; None while it has not."""
        return self["_task_ok"].created_at if "_task_ok" in self else None

    @property
    def runtime_name(self) -> str | None:
        """Where it ran, such as dev or argo-workflows."""
        for tag in self.system_tags:
            if tag.startswith("runtime:"):
                return tag.partition(":")[2]
        return None

    @property
    def current_attempt(self) -> int:
        """The number of the last attempt, from 0."""
        if self._attempt is not None:
            return self._attempt
        return int(self.metadata_dict.get("attempt", 0))

    @property
    def origin_pathspec(self) -> str | None:
        """The task that this one was cloned from by a resume; None if it was not."""
        found = self.metadata_dict
        run, task = found.get("origin-run-id"), found.get("origin-task-id")
        return None if not run or not task or run == "None" else "/".join((self._parts[0], run, self._parts[2], task))

    def loglines(self, stream: str) -> Iterator[tuple[datetime | None, str]]:
        """Iterate over (time, text) of a log, `stream` being stdout or stderr."""
        root = str(self.metadata_dict.get("ds-root") or "")
        for time, text in namespaces.layout().log(root, self._parts, stream, self.current_attempt):
            when = None if time.startswith("3000-") else datetime.strptime(time[:26], "%Y-%m-%dT%H:%M:%S.%f")
            yield when, text

    @property
    def stdout(self) -> str:
        """What the task wrote on stdout."""
        return "".join(f"{text}\n" for _, text in self.loglines("stdout"))

    @property
    def stderr(self) -> str:
        """What the task wrote on stderr."""
        return "".join(f"{text}\n" for _, text in self.loglines("stderr"))


class Step(MetaflowObject):
    """One step of a run. Its children are tasks."""

    _depth = 3
    _child_class = Task

    @property
    def task(self) -> Task | None:
        """Any of the tasks: the newest."""
        return next(iter(self), None)

    def tasks(self, *tags: str) -> Iterator[Task]:
        """Iterate over the tasks that have all of the tags."""
        return self._filtered(tags)

    @property
    def finished_at(self) -> datetime | None:
        """When the last of its tasks ended; None while one has not."""
        times = [task.finished_at for task in self]
        return None if not times or None in times else max(times)  # type: ignore[type-var]


class Run(MetaflowObject):
    """One run. Its children are steps; those whose names start with an underscore are reached by name only."""

    _depth = 2
    _child_class = Step

    def _shows(self, child: Step) -> bool:
        return not child.id.startswith("_")

    def steps(self, *tags: str) -> Iterator[Step]:
        """Iterate over the steps that have all of the tags."""
        return self._filtered(tags)

    @property
    def trigger(self) -> Any:
        """The events that started the run, a metaflow.events.Trigger; None if none did."""
        name = "start"
        parameters = self["_parameters"].task if "_parameters" in self else None
        if parameters is not None:
            name = parameters.metadata_dict.get("start_step") or name
        task = self[name].task if name in self else None
        found = task.metadata_dict.get("execution-triggers") if task is not None else None
        if not found:
            return None
        import json

        from metaflow.events import Trigger

        return Trigger(json.loads(found) if isinstance(found, str) else found)

    @property
    def end_task(self) -> Task | None:
        """The task of the end step; None while there is none."""
        name = "end"
        parameters = self["_parameters"].task if "_parameters" in self else None
        if parameters is not None:
            name = parameters.metadata_dict.get("end_step") or name
        return self[name].task if name in self else None

    @property
    def data(self) -> MetaflowData | None:
        """The artifacts of the end task; None while there is none."""
        end = self.end_task
        return None if end is None else end.data

    @property
    def successful(self) -> bool:
        """Whether the end task succeeded."""
        end = self.end_task
        return end is not None and end.successful

    @property
    def finished(self) -> bool:
        """Whether the end task is done."""
        end = self.end_task
        return end is not None and end.finished

    @property
    def finished_at(self) -> datetime | None:
        """When the end task ended; None while it has not."""
        end = self.end_task
        return None if end is None else end.finished_at

    def _read_only(self, *_args: Any) -> None:
        raise MetaflowException("inside a flow the client is read-only; change tags with mf tag add and mf tag remove")

    add_tag = add_tags = remove_tag = remove_tags = replace_tag = replace_tags = _read_only


class Flow(MetaflowObject):
    """One flow by its name. Its children are runs; iterating shows those in the current namespace."""

    _depth = 1
    _child_class = Run

    def _children(self) -> Iterator[Run]:
        return self.runs()

    @property
    def latest_run(self) -> Run | None:
        """The newest run in the namespace; None if there is none."""
        return next(iter(self), None)

    @property
    def latest_successful_run(self) -> Run | None:
        """The newest run in the namespace that succeeded; None if there is none."""
        return next((run for run in self if run.successful), None)

    def runs(self, *tags: str) -> Iterator[Run]:
        """Iterate over the runs that have all of the tags."""
        wanted = namespaces.get_namespace() if self._checked else None
        for name, found in namespaces.layout().runs(self.id, tags if wanted is None else (*tags, wanted)):
            yield Run(f"{self.id}/{name}", _object=found, _namespace_check=False)


class Metaflow:
    """Everything: iterating gives the flows in the current namespace."""

    def __init__(self) -> None:
        self._layout = namespaces.layout()

    def __iter__(self) -> Iterator[Flow]:
        for name, found in self._layout.children(()):
            flow = Flow(name, _object=found, _namespace_check=False)
            if flow.is_in_namespace():
                yield flow

    @property
    def flows(self) -> list[Flow]:
        """The flows in the current namespace."""
        return list(self)

    def __getitem__(self, name: str) -> Flow:
        try:
            return Flow(name)
        except (MetaflowNotFound, MetaflowInvalidPathspec):
            raise KeyError(name) from None

    def __repr__(self) -> str:
        return f"Metaflow('{namespaces.get_metadata()}')"


DataArtifact._parent_class, Task._parent_class, Step._parent_class, Run._parent_class = Task, Step, Run, Flow
