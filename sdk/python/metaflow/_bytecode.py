"""Keeps the SDK's own bytecode, whatever the environment says about the user's.

Many machines set PYTHONDONTWRITEBYTECODE. The SDK lies in a cache folder of mf's own, where that wish has no point and
compiling it anew doubles the time that a flow takes to start.
"""

from __future__ import annotations

import os
import sys


def keep(folder: str) -> None:
    """Compile the SDK in `folder`, once for each version of Python, if MF_KEEP_BYTECODE is set."""
    if not os.environ.pop("MF_KEEP_BYTECODE", ""):
        return
    tag = sys.implementation.cache_tag
    if not tag or sys.pycache_prefix:
        return
    mark = os.path.join(folder, "metaflow", "__pycache__", "_bytecode_done.%s" % tag)
    if os.path.exists(mark) or not os.access(folder, os.W_OK):
        return
    import compileall

    compileall.compile_dir(folder, quiet=2)
    try:
        with open(mark, "w"):
            pass
    except OSError:
        pass  # compiled again the next time
