"""The client's two settings: the namespace that objects must be in, and where the metadata is."""

from __future__ import annotations

import os

from metaflow.exception import MetaflowException, MetaflowUnknownUser

from ..current import current
from . import places

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .layout import Layout

#: Stands for "not chosen yet".
_UNSET: Any = object()


class _Settings:
    def __init__(self) -> None:
        self.namespace: Any = _UNSET
        self.layout: Layout | None = None


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
    """Choose where the metadata is: ``local@DIR``, or DIR alone, a folder with runs; return it in full."""
    kind, at, place = ms.partition("@")
    if not at:
        kind, place = ("service", ms) if "://" in ms else ("local", ms)
    if kind != "local":
        raise MetaflowException(f"inside a flow, mf reads local metadata only (local@DIR), not {ms!r}")
    _settings.layout = places.at(place)
    return get_metadata()


def get_metadata() -> str:
    """Return where the metadata is, as ``local@DIR``."""
    return f"local@{os.path.dirname(layout().root)}"


def layout() -> Layout:
    """Return the metadata and datastore that the client reads."""
    if _settings.layout is None:
        _settings.layout = places.find()
    return _settings.layout
