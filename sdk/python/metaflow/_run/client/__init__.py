"""A read-only client for runs: local ones, and those that a team shares.

Imported when a flow first asks for one of its names; no task pays for it otherwise.
"""

from .namespaces import default_namespace, get_metadata, get_namespace, metadata, namespace
from .objects import DataArtifact, Flow, Metaflow, Run, Step, Task

__all__ = [
    "DataArtifact",
    "Flow",
    "Metaflow",
    "Run",
    "Step",
    "Task",
    "default_namespace",
    "get_metadata",
    "get_namespace",
    "metadata",
    "namespace",
]
