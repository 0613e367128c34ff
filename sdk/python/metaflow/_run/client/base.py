"""What the client's objects have in common."""

from __future__ import annotations

from datetime import datetime

from metaflow.exception import MetaflowInvalidPathspec, MetaflowNamespaceMismatch, MetaflowNotFound

from . import namespaces

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any


class MetaflowObject:
    """What all objects have in common. Iterating gives the children, newest first; ``object[id]`` gives one."""

    _depth = 0
    _child_class: Any = None
    _parent_class: Any = None

    def __init__(
        self,
        pathspec: str | None = None,
        attempt: int | None = None,
        _object: dict[str, Any] | None = None,
        _namespace_check: bool = True,
    ) -> None:
        parts = tuple(str(pathspec).split("/")) if pathspec is not None else ()
        if len(parts) != self._depth or not all(parts):
            form = "/".join(("Flow", "run", "step", "task", "artifact")[: self._depth])
            raise MetaflowInvalidPathspec(f"{type(self).__name__} takes a pathspec {form}, not {pathspec!r}")
        self._parts = parts
        self._attempt = attempt
        self._checked = _namespace_check
        found = self._read() if _object is None else _object
        if found is None:
            raise MetaflowNotFound(f"{type(self).__name__}('{self.pathspec}') does not exist")
        self._object = found
        if _namespace_check and not self.is_in_namespace():
            raise MetaflowNamespaceMismatch(namespaces.get_namespace())

    def _read(self) -> dict[str, Any] | None:
        return namespaces.layout().read(self._parts)

    @property
    def id(self) -> str:
        """The last part of the pathspec."""
        return self._parts[-1]

    @property
    def pathspec(self) -> str:
        """The object's place, such as Flow/run/step."""
        return "/".join(self._parts)

    @property
    def path_components(self) -> list[str]:
        """The parts of the pathspec."""
        return list(self._parts)

    @property
    def parent(self) -> Any:
        """The object that holds this one; None for a flow."""
        if self._parent_class is None:
            return None
        return self._parent_class("/".join(self._parts[:-1]), _namespace_check=False)

    @property
    def created_at(self) -> datetime:
        """When the object was made, in local time."""
        return datetime.fromtimestamp(self._object["ts_epoch"] / 1000.0)

    def _tagged(self) -> dict[str, Any]:
        """The object whose tags count: the run's, for all that is in it."""
        if self._depth > 2:
            return namespaces.layout().tagged(self._parts[:2]) or {}
        return self._object

    @property
    def system_tags(self) -> frozenset[str]:
        """Tags that were set by the system."""
        return frozenset(self._tagged().get("system_tags") or ())

    @property
    def user_tags(self) -> frozenset[str]:
        """Tags that were set by the user."""
        return frozenset(self._tagged().get("tags") or ())

    @property
    def tags(self) -> frozenset[str]:
        """All tags."""
        return self.user_tags | self.system_tags

    def is_in_namespace(self) -> bool:
        """Whether the object is in the current namespace: it has a tag of that name. A flow is where a run of it is."""
        wanted = namespaces.get_namespace()
        if wanted is None:
            return True
        if self._depth == 1:
            return any(True for _ in namespaces.layout().runs(self.id, (wanted,)))
        return wanted in self.tags

    def _children(self) -> Iterator[Any]:
        for name, found in namespaces.layout().children(self._parts):
            child = self._child_class("/".join((*self._parts, name)), _object=found, _namespace_check=False)
            if self._shows(child):
                yield child

    def _shows(self, child: Any) -> bool:
        return True

    def _filtered(self, tags: tuple[str, ...]) -> Iterator[Any]:
        return (child for child in self if all(tag in child.tags for tag in tags))

    def __iter__(self) -> Iterator[Any]:
        return self._children()

    def __getitem__(self, key: str) -> Any:
        try:
            return self._child_class("/".join((*self._parts, str(key))), _namespace_check=self._checked)
        except (MetaflowNotFound, MetaflowInvalidPathspec):
            raise KeyError(key) from None

    def __contains__(self, key: str) -> bool:
        try:
            self[key]
        except KeyError:
            return False
        return True

    def __repr__(self) -> str:
        return f"{type(self).__name__}('{self.pathspec}')"
