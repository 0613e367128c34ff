"""merge_artifacts: by digest, so that nothing is fetched."""

from __future__ import annotations

from metaflow.exception import (
    MetaflowException,
    MissingInMergeArtifactsException,
    UnhandledInMergeArtifactsException,
)

from .artifacts import RUNTIME_ARTIFACTS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Any

#: What a task has of its own when a join's body starts, and so is never merged. `_catch_exception` is not among them.
_NEVER_MERGED = RUNTIME_ARTIFACTS - {"_catch_exception"}


def merge_artifacts(task: Any, inputs: Any, exclude: Sequence[str], include: Sequence[str]) -> None:
    """See FlowSpec.merge_artifacts; `task` is the metaflow._run.task.Task."""
    if not task.job.get("join"):
        raise MetaflowException(f"step '{task.step}' is not a join; only a join can call merge_artifacts")
    if exclude and include:
        raise MetaflowException("merge_artifacts takes either include or exclude, not both")
    own = set(task.flow.__dict__).union(task.digests, task.read_only)
    chosen: dict[str, tuple[int, str]] = {}
    conflicts: list[str] = []
    for index, name, digest in _offered(inputs):
        if name in own or (name not in include if include else name in exclude or name in _NEVER_MERGED):
            continue
        if hasattr(type(task.flow), name):
            continue
        _, first = chosen.setdefault(name, (index, digest))
        if first != digest and name not in conflicts:
            conflicts.append(name)
    if conflicts:
        raise UnhandledInMergeArtifactsException(
            f"step '{task.step}' cannot merge artifacts that differ between its inputs: {', '.join(conflicts)}. Set "
            f"them before merge_artifacts (self.{conflicts[0]} = ...), or leave them out with exclude=[...]",
            conflicts,
        )
    missing = [
        name for name in include if name not in chosen and name not in own and not hasattr(type(task.flow), name)
    ]
    if missing:
        raise MissingInMergeArtifactsException(
            f"step '{task.step}' wants to merge artifacts that no input has: {', '.join(missing)}", missing
        )
    for name, (index, digest) in chosen.items():
        task.merged[name] = index
        task.digests[name] = digest


def _offered(inputs: Any) -> Iterator[tuple[int, str, str]]:
    for given in inputs:
        context = getattr(given, "__dict__", {}).get("_mf_task")
        if context is None or not hasattr(context, "position"):
            raise MetaflowException(f"merge_artifacts takes the inputs of the join, not {given!r}")
        for name, digest in context.digests.items():
            yield context.position, name, digest
