"""The events that started a run: what `current.trigger` is."""

from __future__ import annotations

import os
from collections import namedtuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

#: An event: its name, its id, when it was made (a datetime where it says so) and its type, "event" or "run".
MetaflowEvent = namedtuple("MetaflowEvent", ["name", "id", "timestamp", "type"])

#: What a variable with the payload of an event is called, before its type and an underscore.
_PREFIX = "METAFLOW_ARGO_EVENT_PAYLOAD_"


def _seconds(event: dict[str, Any]) -> float:
    """When an event was made, to sort by. It may have been given any fields: what is no number is the oldest."""
    time = event.get("timestamp")
    return time if time and isinstance(time, (int, float)) else float("-inf")


def _moment(timestamp: Any) -> Any:
    """The datetime of a timestamp in whole seconds; anything else as it is."""
    if not timestamp or not isinstance(timestamp, int):
        return timestamp
    from datetime import datetime

    try:
        return datetime.fromtimestamp(timestamp)
    except (ValueError, OverflowError, OSError):  # such as milliseconds
        return timestamp


class Trigger:
    """The events that started a run, the latest first."""

    def __init__(self, _meta: list[dict[str, Any]] | None = None) -> None:
        self._events = [
            MetaflowEvent(fields.get("name"), fields.get("id"), _moment(fields.get("timestamp")), fields.get("type"))
            for fields in sorted(_meta or [], key=_seconds, reverse=True)
        ]
        self._found: list[Any] | None = None

    @property
    def event(self) -> Any:
        """The latest event; None if there is none."""
        return self._events[0] if self._events else None

    @property
    def events(self) -> list[Any] | None:
        """All events; None if there is none."""
        return list(self._events) or None

    @property
    def run(self) -> Any:
        """The latest run whose end started this one; None if no run did."""
        return (self.runs or [None])[0]

    @property
    def runs(self) -> list[Any] | None:
        """The runs whose ends started this one; None if no run did."""
        if self._found is None:
            from ._run.client import Run

            # The id of such an event is the pathspec of the end task.
            specs = ["/".join(str(event.id).split("/")[:2]) for event in self._events if event.type == "run"]
            self._found = [Run(spec, _namespace_check=False) for spec in specs]
        return list(self._found) or None

    def __getitem__(self, key: str) -> Any:
        """The run of the flow of that name where runs started this one, else the event of that name."""
        for run in self.runs or ():
            if run.pathspec.split("/")[0] == key:
                return run
        if not self.runs:
            for event in self._events:
                if event.name == key:
                    return event
        raise KeyError(key)

    def __iter__(self) -> Iterator[Any]:
        return iter(self._events)

    def __contains__(self, key: str) -> bool:
        try:
            self[key]
        except KeyError:
            return False
        return True


def from_environment() -> Trigger | None:
    """Return what started this run, as the engine passed it by environment; None where no event did."""
    import json

    found = []
    for name, text in os.environ.items():
        if not name.startswith(_PREFIX) or text == "null":
            continue
        try:
            payload = json.loads(text)
        except ValueError:
            payload = None
        fields = payload if isinstance(payload, dict) else {}
        kind = name[len(_PREFIX) :].partition("_")[0]
        found.append({**{key: fields.get(key) for key in ("name", "id", "timestamp")}, "type": kind})
    return Trigger(found) if found else None
