"""Reads runs with the real Metaflow client and prints what it says of each as JSON, after a record separator."""

import json
import os
import sys

from metaflow import Flow, metadata, namespace

namespace(None)



class _Anything:
    def __init__(self, *args, **kwargs):
        self.args = args

    def __setstate__(self, state):
        self.state = state

    def __repr__(self):
        return "<%s %r>" % (type(self).__name__, getattr(self, "state", getattr(self, "args", None)))


main = sys.modules["__main__"]


class _Main(type(main)):
    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        made = type(name, (_Anything,), {"__module__": "__main__"})
        setattr(self, name, made)
        return made


main.__class__ = _Main

def task_type(task, name):
    """The type that the record of the task's last attempt names."""
    root = task.metadata_dict.get("ds-root")
    if not root:
        return ""
    for attempt in range(5, -1, -1):
        path = os.path.join(root, task.pathspec, "%d.data.json" % attempt)
        if os.path.exists(path):
            with open(path) as f:
                return json.load(f)["info"].get(name, {}).get("type", "")
    return ""


def key(task):
    stack = task["_foreach_stack"].data if "_foreach_stack" in task else []
    loops = task["_iteration_stack"].data if "_iteration_stack" in task else []
    return "%s%s%s" % (task.parent.id, [f.index for f in stack] or "", list(loops) or "")


def read(directory, flow_name, run_id):
    """What the client says of one run in the datastore below a folder, or of the service at a URL."""
    metadata(directory if directory.startswith("service@") else "local@" + directory)
    run = Flow(flow_name)[run_id]
    out = {
        "successful": run.successful,
        "finished": run.finished,
        "tags": sorted(run.user_tags),
        "tasks": {},
        "stdout": {},
        "stderr": {},
        "parents": {},
        "children": {},
        "exceptions": {},
        "code": {},
    }
    if run.code:
        out["code"] = {"script": run.code.script_name, "flowspec": str(run.code.flowspec, "utf-8"), "names": sorted(run.code.tarball.getnames())}
    names = {}
    tasks = [task for step in run for task in step]
    for task in tasks:
        names[task.pathspec] = key(task)
    out["control"] = [names[task.pathspec] for step in run for task in step.control_tasks()]
    for task in tasks:
        k = names[task.pathspec]
        values = out["tasks"][k] = {}
        for art in task:
            try:
                text = repr(art.data)
            except Exception as e:  # what cannot be loaded here is compared by digest alone
                text = "<cannot load: %s>" % type(e).__name__
            kind = task_type(task, art.id)
            values[art.id] = {"sha": art.sha, "repr": text, "kind": kind}
        for name in ("_task_ok", "_success", "_transition", "_foreach_num_splits", "_foreach_var", "_current_step"):
            if name in task:
                values[name] = {"sha": "", "repr": repr(task[name].data)}
        out["stdout"][k] = task.stdout
        out["stderr"][k] = task.stderr
        if task.exception:
            out["exceptions"][k] = "%s: %s" % (task.exception.type, task.exception.exception)
        out["parents"][k] = sorted(names.get(t.pathspec, t.pathspec) for t in task.parent_tasks)
        out["children"][k] = sorted(names.get(t.pathspec, t.pathspec) for t in task.child_tasks)
    return out


with open(sys.argv[1]) as listing:
    refs = json.load(listing)
sys.stdout.write("\x1e" + json.dumps([read(r["Dir"], r["Flow"], r["Run"]) for r in refs]))
