"""``python flow.py run …``: hands the command line over to the mf binary."""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn


def find_binary() -> str:
    """Return the path of the mf binary: MF_BINARY, else mf on the PATH; an empty text when there is none."""
    named = os.environ.get("MF_BINARY")
    if named:
        return named
    from shutil import which

    return which("mf") or ""


def hand_over(cls: type) -> NoReturn:
    """Run ``mf __python FILE:CLASS ARGS…`` in place of this process."""
    module = sys.modules.get(cls.__module__)
    main = sys.modules["__main__"]
    path = getattr(main, "__file__", None) or getattr(module, "__file__", None)
    if not path:
        sys.exit("mf: this flow has no file: FlowSpec() works in a script, not in an interactive session")
    binary = find_binary()
    if not binary:
        sys.exit(
            "mf: the mf program was not found. Put it on the PATH, or set MF_BINARY to where it is; "
            f"then run: {' '.join(['python', *sys.argv])}"
        )
    command = [binary, "__python", f"{os.path.abspath(path)}:{cls.__name__}", *sys.argv[1:]]
    sys.stdout.flush()
    sys.stderr.flush()
    try:
        if os.name == "nt":
            import subprocess

            sys.exit(subprocess.call(command))
        os.execv(binary, command)
    except OSError as error:
        sys.exit(f"mf: {binary} cannot be run: {error.strerror}")
