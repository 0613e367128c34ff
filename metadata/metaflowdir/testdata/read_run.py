"""Prints, as JSON, what the Metaflow client says about the run named on the command line."""

import json
import sys

from metaflow import Flow, Metaflow, Run, Task, namespace

pathspec = sys.argv[1]
flow_name, run_id = pathspec.split("/")
seen = {}

seen["visible"] = [r.id for r in Flow(flow_name)]  # in the default namespace, user:tester
namespace(None)
seen["flows"] = [f.id for f in Metaflow()]
seen["latest"] = Flow(flow_name).latest_run.id
seen["latest_successful"] = Flow(flow_name).latest_successful_run.id
seen["tagged"] = [r.id for r in Flow(flow_name).runs("hello")]
seen["untagged"] = [r.id for r in Flow(flow_name).runs("nobody")]

run = Run(pathspec)
seen["run"] = {
    "user_tags": sorted(run.user_tags),
    "system_tags": sorted(run.system_tags),
    "successful": run.successful,
    "finished": run.finished,
    "created_at": run.created_at.timestamp(),
    "finished_at": run.finished_at.timestamp(),
    "steps": [s.id for s in run],
    "end_task": run.end_task.pathspec,
    "data_n": run.data.n,
    "origin": run.origin_pathspec,
    "parameter": run["_parameters"].task["alpha"].data,
}
seen["tasks"] = {}
for step in run:
    for task in step:
        seen["tasks"][task.pathspec] = {
            "index": task.index,
            "successful": task.successful,
            "finished": task.finished,
            "attempt": task.current_attempt,
            "tags": sorted(task.user_tags),
            "parents": sorted(t.id for t in task.parent_tasks),
            "children": sorted(t.id for t in task.child_tasks),
            "artifacts": sorted(a.id for a in task.artifacts),
            "fields": sorted({m.name for m in task.metadata}),
            "runtime": task.runtime_name,
        }
first = Task(sys.argv[2])
seen["first"] = {
    "xs": first["xs"].data,
    "sha": first["xs"].sha,
    "stack": first.metadata_dict.get("foreach-stack"),
    "path": first.metadata_dict.get("foreach-execution-path"),
    "version": first.metadata_dict.get("metaflow_version"),
}
run.add_tag("from-client")
run.remove_tag("hello")
seen["mutated"] = sorted(Run(pathspec).user_tags)
json.dump(seen, sys.stdout)
