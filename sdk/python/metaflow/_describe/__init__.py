"""Loads a flow file and describes it as data.

`load` executes the file, applies configs, mutators and --with, and returns a `LoadedFlow`. Nothing a user can do wrong
raises: mistakes are diagnostics. Describing (`LoadedFlow.description`) reads the source again as a syntax tree, which a
process that only runs steps never needs.
"""

from __future__ import annotations

from ._loader import LoadedFlow, LoadOptions, load

__all__ = ["LoadOptions", "LoadedFlow", "load"]
