"""The client's two settings: the namespace that objects must be in, and where the metadata is."""

from __future__ import annotations

import os
import time

from metaflow.exception import MetaflowException, MetaflowUnknownUser

from ..current import current
from . import places

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .layout import Layout

#: Stands for "not chosen yet".
_UNSET: Any = object()
#: Seconds to wait for the record of the running task.
_PATIENCE = 2.0


class _Settings:
    def __init__(self) -> None:
        self.namespace: Any = _UNSET
        self.layout: Layout | None = None
        #: Whether the record of the running task has been waited for.
        self.waited = False


_settings = _Settings()


def namespace(ns: str | None) -> str | None:
    """Choose the namespace that objects must be in, None for all; return it."""
    _settings.namespace = ns
    return ns


def get_namespace() -> str | None:
    """Return the current namespace: the one chosen, else that of the running task, else default_namespace()."""
    if _settings.namespace is not _UNSET:
        return _settings.namespace  # type: ignore[no-any-return]
    if current.is_running_flow:
        return current.namespace or None
    return _own_namespace()


def default_namespace() -> str:
    """Return to the namespace of the user, or of the production token in the environment, and return it."""
    chosen = _own_namespace()
    _settings.namespace = chosen
    return chosen


def _own_namespace() -> str:
    token = os.environ.get("METAFLOW_PRODUCTION_TOKEN")
    if token:
        return f"production:{token}"
    for name in ("METAFLOW_USER", "SUDO_USER", "USERNAME", "USER"):
        user = os.environ.get(name)
        if user and user != "root":
            return f"user:{user}"
    raise MetaflowUnknownUser


def metadata(ms: str) -> str:
    """Choose where the metadata is; return it in full.

    It is ``local@DIR``, or DIR alone, a folder with runs, or what get_metadata() said where a team shares its runs.
    """
    kind, at, place = ms.partition("@")
    if not at:
        kind, place = ("service", ms) if "://" in ms else ("local", ms)
    own = places.shared()
    if own is not None and f"{kind}@{place}".rstrip("/") == own.place.rstrip("/"):
        _settings.layout = own
        return get_metadata()
    if kind != "local" and own is not None:
        raise MetaflowException(f"inside a flow, mf reads {own.place} and local metadata (local@DIR), not {ms!r}")
    if kind != "local":
        raise MetaflowException(f"inside a flow, mf reads local metadata only (local@DIR), not {ms!r}")
    _settings.layout = places.at(place)
    return get_metadata()


def get_metadata() -> str:
    """Return where the metadata is, as ``local@DIR`` or ``service@URL``."""
    return layout().place


def layout() -> Layout:
    """Return the metadata and datastore that the client reads."""
    if _settings.layout is None:
        _settings.layout = places.find()
    if not _settings.waited and current.is_running_flow:
        _wait_for_own_record(_settings.layout)
    return _settings.layout


def _wait_for_own_record(chosen: Layout) -> None:
    """Wait until the running attempt is on record, and with it all that came before it in the run.

    mf records in the order in which things happen, but does not let tasks wait for it, so that a task may be some
    milliseconds ahead of its record.
    """
    if not chosen.holds_this_run():
        return
    _settings.waited = True
    task, attempt = tuple(str(current.pathspec).split("/")), str(current.retry_count)
    deadline, pause = time.monotonic() + _PATIENCE, 0.002
    while ("attempt", attempt) not in ((row["field_name"], row["value"]) for row in chosen.metadata(task)):
        if time.monotonic() > deadline:
            return
        time.sleep(pause)
        pause = min(2 * pause, 0.1)
