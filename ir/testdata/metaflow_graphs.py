"""Writes metaflow_graphs.json: what real Metaflow says about the graphs of the corpus's valid Python flows.

Run with a Python that has Metaflow installed, from this folder: python metaflow_graphs.py > metaflow_graphs.json
"""

import glob
import importlib.util
import json
import os
import subprocess
import sys

CORPUS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "testdata", "flows")
KEPT = ("name", "type", "next", "foreach_artifact", "num_parallel", "condition", "switch_cases", "matching_join")


def describe(folder):
    os.chdir(folder)
    sys.path.insert(0, folder)
    spec = importlib.util.spec_from_file_location("flow", "flow.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    from metaflow import FlowSpec

    classes = [c for c in vars(module).values() if isinstance(c, type) and issubclass(c, FlowSpec)]
    cls = [c for c in classes if c.__module__ == "flow" and not any(c in d.__mro__[1:] for d in classes)][-1]
    steps, structure = cls._graph.output_steps()
    kept = {name: {key: step[key] for key in KEPT if key in step} for name, step in steps.items()}
    return {"steps": kept, "graph_structure": structure}


if __name__ == "__main__":
    if len(sys.argv) > 1:
        json.dump(describe(sys.argv[1]), sys.stdout)
        sys.exit()
    graphs = {}
    for file in sorted(glob.glob(os.path.join(CORPUS, "*", "ir.json"))):
        folder = os.path.dirname(file)
        if os.path.exists(os.path.join(folder, "flow.py")):
            done = subprocess.run([sys.executable, __file__, os.path.abspath(folder)], stdout=subprocess.PIPE)
            if done.returncode == 0:
                graphs[os.path.basename(folder)] = json.loads(done.stdout)
    json.dump(graphs, sys.stdout, indent=1)
    print()
