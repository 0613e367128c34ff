"""Reads a run with the real Metaflow client and prints what it says as JSON, after a record separator."""

import json
import sys

from metaflow import Flow, namespace

flow_file, flow_name, run_id = sys.argv[1:]
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
}


def key(task):
    stack = task["_foreach_stack"].data if "_foreach_stack" in task else []
    loops = task["_iteration_stack"].data if "_iteration_stack" in task else []
    return "%s%s%s" % (task.parent.id, [f.index for f in stack] or "", list(loops) or "")


names = {}
tasks = [task for step in run for task in step]
for task in tasks:
    names[task.pathspec] = key(task)
for task in tasks:
    k = names[task.pathspec]
    values = out["tasks"][k] = {}
    for art in task:
        try:
            text = repr(art.data)
        except Exception as e:  # what cannot be loaded here is compared by digest alone
            text = "<cannot load: %s>" % type(e).__name__
        values[art.id] = {"sha": art.sha, "repr": text}
    for name in ("_task_ok", "_success", "_transition", "_foreach_num_splits", "_foreach_var", "_current_step"):
        if name in task:
            values[name] = {"sha": "", "repr": repr(task[name].data)}
    out["stdout"][k] = task.stdout
    out["stderr"][k] = task.stderr
    if task.exception:
        out["exceptions"][k] = "%s: %s" % (task.exception.type, task.exception.exception)
    out["parents"][k] = sorted(names.get(t.pathspec, t.pathspec) for t in task.parent_tasks)
    out["children"][k] = sorted(names.get(t.pathspec, t.pathspec) for t in task.child_tasks)
sys.stdout.write("\x1e" + json.dumps(out))
