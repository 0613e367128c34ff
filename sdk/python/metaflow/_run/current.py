"""`current`: what a step body may ask about the run it is in."""

from __future__ import annotations

import os
import sys
from collections import namedtuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

Parallel = namedtuple("Parallel", ["main_ip", "num_nodes", "node_index", "control_task_id"])

_PROJECT = {
    "project_name": "name",
    "branch_name": "branch",
    "project_flow_name": "flow_name",
    "is_user_branch": "is_user_branch",
    "is_production": "is_production",
}
_HINTS = {
    "trigger": "the run was not started by an event",
    "spot_termination_notice": "only tasks on Kubernetes or AWS Batch have it",
    **dict.fromkeys(_PROJECT, "the flow has no @project decorator"),
}


class Card:
    """Accepts everything that Metaflow's `current.card` and its components do: cards are not rendered yet.

    Every method does nothing; ``card[id]``, ``card.components`` and their items are this object again.
    """

    _warned = False

    def _ignore(self, *_args: Any, **_kwargs: Any) -> None:
        if not Card._warned:
            Card._warned = True
            sys.stderr.write("mf: cards are not rendered yet; current.card does nothing\n")

    append = extend = clear = refresh = update = __setitem__ = _ignore

    def get(self, *_args: Any, **_kwargs: Any) -> list[Any]:
        """Return no cards."""
        return []

    @property
    def components(self) -> Card:
        """Stands for the components."""
        return self

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return self._ignore

    def __getitem__(self, key: Any) -> Card:
        return self

    def __iter__(self) -> Iterator[Any]:
        return iter(())

    def __len__(self) -> int:
        return 0

    def __bool__(self) -> bool:
        return True


class Current:
    """The running task; every attribute is None or absent where nothing runs."""

    def __init__(self) -> None:
        self._job: dict[str, Any] = {}
        self._task: Any = None
        self._loaded: Any = None
        self._card: Card | None = None
        self._updates: dict[str, Any] = {}

    def _set_job(self, job: dict[str, Any], task: Any, loaded: Any) -> None:
        """Make this the task of a `step` job."""
        self._job, self._task, self._loaded = job, task, loaded

    def _update_env(self, env: dict[str, Any]) -> None:
        """Add attributes."""
        self._updates.update(env)

    def _text(self, field: str) -> str | None:
        value = self._job.get(field)
        return None if value is None else str(value)

    @property
    def is_running_flow(self) -> bool:
        """Whether a step is running."""
        return self._task is not None

    @property
    def flow_name(self) -> str | None:
        """Name of the flow."""
        return self._text("flow")

    @property
    def run_id(self) -> str | None:
        """Id of the run."""
        return self._text("run")

    @property
    def step_name(self) -> str | None:
        """Name of the step."""
        return self._text("step")

    @property
    def task_id(self) -> str | None:
        """Id of the task."""
        return self._text("task")

    @property
    def retry_count(self) -> int | None:
        """Number of the attempt, from 0."""
        return self._job.get("attempt")

    @property
    def origin_run_id(self) -> str | None:
        """Id of the run that this one resumes, None otherwise."""
        return self._text("origin_run")

    @property
    def pathspec(self) -> str | None:
        """Flow/run/step/task."""
        parts = [self.flow_name, self.run_id, self.step_name, self.task_id]
        return None if None in parts else "/".join(str(part) for part in parts)

    @property
    def task(self) -> Any:
        """The task as the client shows it."""
        from .client import Task

        return Task(self.pathspec, _namespace_check=False) if self.pathspec else None

    @property
    def run(self) -> Any:
        """The run as the client shows it."""
        from .client import Run

        pathspec = f"{self.flow_name}/{self.run_id}"
        return Run(pathspec, _namespace_check=False) if self.run_id is not None else None

    @property
    def namespace(self) -> str | None:
        """The namespace of the run, such as user:ada."""
        return self._text("namespace")

    @property
    def username(self) -> str | None:
        """Who started the run."""
        return self._text("username")

    @property
    def tags(self) -> Any:
        """The tags that the run was started with."""
        return list(self._job.get("tags") or [])

    @property
    def tempdir(self) -> str | None:
        """The folder for temporary files: METAFLOW_TEMPDIR, else the working directory."""
        return os.environ.get("METAFLOW_TEMPDIR") or "."

    @property
    def parameter_names(self) -> list[str]:
        """Names of the flow's parameters and configs."""
        if self._loaded is None:
            raise AttributeError(self._missing("parameter_names"))
        return [*self._loaded.configs, *self._loaded.parameters]

    @property
    def graph(self) -> Any:
        """The flow's structure, as stored in the artifact _graph_info."""
        if self._task is None:
            raise RuntimeError("current.graph is known only while a step runs")
        return self._task.get_artifact("_graph_info")

    @property
    def card(self) -> Card:
        """The step's card; see Card."""
        if self._card is None:
            self._card = Card()
        return self._card

    @property
    def parallel(self) -> Parallel:
        """The place of this task in its gang; a gang of one elsewhere."""
        given = self._job.get("parallel") or {}
        env = os.environ.get
        return Parallel(
            main_ip=given.get("main_ip") or env("MF_PARALLEL_MAIN_IP", "127.0.0.1"),
            num_nodes=int(given.get("num_nodes") or env("MF_PARALLEL_NUM_NODES") or 1),
            node_index=int(given.get("node_index") or env("MF_PARALLEL_NODE_INDEX") or 0),
            control_task_id=given.get("control_task_id") or env("MF_PARALLEL_CONTROL_TASK_ID"),
        )

    @property
    def is_parallel(self) -> bool:
        """Whether this task is part of a gang."""
        return self._job.get("parallel") is not None

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        updates = self.__dict__.get("_updates") or {}
        if name in updates:
            return updates[name]
        if name == "trigger":
            from metaflow.events import from_environment

            updates[name] = from_environment()
            if updates[name] is not None:
                return updates[name]
            del updates[name]
        project = self.__dict__.get("_job", {}).get("project")
        if project is not None and name in _PROJECT:
            return project.get(_PROJECT[name])
        raise AttributeError(self._missing(name))

    def _missing(self, name: str) -> str:
        if name in _HINTS:
            return f"current.{name} is not set: {_HINTS[name]}"
        if not self.is_running_flow:
            return f"current.{name} is not set: no step is running"
        return f"current has no attribute '{name}'"

    def __contains__(self, key: str) -> bool:
        return getattr(self, key, None) is not None

    def get(self, key: str, default: Any = None) -> Any:
        """Return an attribute, or `default` where there is none."""
        return getattr(self, key, default)


#: The one object that ``from metaflow import current`` gives.
current = Current()
