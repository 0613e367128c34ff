"""Which attributes of a flow instance are artifacts."""

from __future__ import annotations

from metaflow.flowspec import FlowSpec

from .artifacts import RUNTIME_ARTIFACTS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_BASE_NAMES = frozenset(dir(FlowSpec))


def artifact_names(cls: type, flow: Any) -> list[str]:
    """Return the names to store.

    Not stored are the SDK's and the runtime's own, dunder names, properties, methods and classes defined in the flow's
    class. Values of the instance that are functions or parameters are for the caller to skip.
    """
    held = flow.__dict__
    names = []
    for name in dir(flow):
        if name in RUNTIME_ARTIFACTS or name in _BASE_NAMES or name.startswith(("__", "_mf_")):
            continue
        if not isinstance(getattr(cls, name, None), property if name in held else (property, type)):
            names.append(name)
    return names
