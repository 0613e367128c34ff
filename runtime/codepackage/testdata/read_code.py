"""Prints, as JSON, what the Metaflow client says about the code of the run named on the command line."""

import json
import os
import sys

from metaflow import Run, namespace

namespace(None)
run = Run(sys.argv[1])
code = run.code
seen = {
    "same": run.end_task.code.path == code.path,
    "path": code.path,
    "info": code.info,
    "script": code.script_name,
    "flowspec": code.flowspec.decode() if isinstance(code.flowspec, bytes) else code.flowspec,
    "text": str(code),
    "members": sorted(code.tarball.getnames()),
}
with code.extract() as folder:
    extracted = {}
    for parent, _, names in os.walk(folder):
        for name in names:
            path = os.path.join(parent, name)
            with open(path, encoding="utf-8") as f:
                extracted[os.path.relpath(path, folder)] = [f.read(), os.access(path, os.X_OK)]
seen["extracted"] = {name: text for name, text in extracted.items() if not name.startswith(".mf_")}
print(json.dumps(seen))
