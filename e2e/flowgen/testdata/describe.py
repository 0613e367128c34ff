"""Describes every flow file of a folder with mf's SDK, one line of JSON each, in the order of their names.

Each is loaded in a process of its own, a copy of this one, so that the SDK is imported once.
"""

import json
import os
import sys

sys.path.insert(0, sys.argv[1])
from metaflow._describe import _describer  # noqa: E402, F401
from metaflow._describe._loader import LoadOptions, load  # noqa: E402

folder = sys.argv[2]
for name in sorted(os.listdir(folder)):
    child = os.fork()
    if child == 0:
        loaded = load(os.path.join(folder, name), None, LoadOptions())
        flow = loaded.description() if loaded.cls is not None else None
        print(json.dumps({"flow": flow, "diagnostics": loaded.diagnostics}), flush=True)
        os._exit(0)
    if os.waitpid(child, 0)[1] != 0:
        sys.exit("describing %s failed" % name)
