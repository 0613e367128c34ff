"""Describes one flow for another process: a request as JSON on stdin, the answer as JSON on stdout.

The request is that of the ``describe`` message (docs/step-protocol.md) with the file's path as "path"; the answer is
``{"flow": …, "diagnostics": […]}``. What the flow file prints while it is executed goes to stderr.
"""

from __future__ import annotations

import gc
import json
import os
import sys

# Imported before the flow's folder comes first on the path: a file there may be called ast.py.
from . import _describer  # noqa: F401
from ._loader import LoadOptions, load


def main() -> None:
    """Answer one request, and end the process."""
    request = json.loads(sys.stdin.buffer.read())
    with open(os.devnull, "rb") as nothing:
        os.dup2(nothing.fileno(), 0)
    answer_fd = os.dup(1)
    os.dup2(2, 1)
    options = LoadOptions(
        with_specs=request.get("with") or (),
        configs=request.get("configs"),
        config_values=request.get("config_values"),
        stubs=bool(request.get("stubs")),
        evaluate=bool(request.get("evaluate")),
    )
    loaded = load(request["path"], request.get("class"), options)
    # This process ends soon: collecting the garbage of big syntax trees would take longer than making them.
    gc.disable()
    flow = loaded.description() if loaded.cls is not None else None
    answer = json.dumps({"flow": flow, "diagnostics": loaded.diagnostics}, allow_nan=False)
    sys.stdout.flush()
    with os.fdopen(answer_fd, "wb") as out:
        out.write(answer.encode("ascii"))
    sys.stderr.flush()
    # Threads and exit handlers that the flow file left behind have no say in how this ends.
    os._exit(0)
