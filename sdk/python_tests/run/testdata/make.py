"""Makes the files here that real Metaflow writes; run it with an interpreter that has Metaflow installed.

client_run.tar.gz and client_run.json: a run of client_flow.py, and what Metaflow's client says about it.
parameters_flow.json: the digests of the `_parameters` task of parameters_flow.py, and of its start task.
"""

import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
GIVEN = {
    "given_int": "-12",
    "given_float": "1e3",
    "given_bool": "yes",
    "given_json": '[1, "a", {"a": 1}]',
    "given_list": "x:y:",
    "given_text": "t",
}


def run(root, script, *arguments):
    env = {**os.environ, "METAFLOW_DATASTORE_SYSROOT_LOCAL": root, "METAFLOW_USER": "tester"}
    env["METAFLOW_DEFAULT_METADATA"] = env["METAFLOW_DEFAULT_DATASTORE"] = "local"
    for name in (script, "words.txt"):
        shutil.copy(os.path.join(HERE, name), root)  # out of the repository, whose state Metaflow would record
    command = [sys.executable, script, "run", *arguments]
    subprocess.run(command, cwd=root, env=env, check=True, stdout=subprocess.DEVNULL)


def describe(value):
    return repr(value)


def without_owner(entry):
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = ""
    return entry


def client_run():
    with tempfile.TemporaryDirectory() as root:
        run(root, "client_flow.py", "--tag", "blue")
        os.environ["METAFLOW_DATASTORE_SYSROOT_LOCAL"] = root
        os.environ["METAFLOW_USER"] = "tester"
        from metaflow import Flow, Metaflow

        facts = {}
        latest = Flow("ClientFlow").latest_run
        facts["flows"] = [flow.id for flow in Metaflow()]
        facts["run"] = {
            name: describe(getattr(latest, name))
            for name in ("id", "pathspec", "successful", "finished", "finished_at", "created_at", "path_components")
        }
        facts["run"]["tags"] = [sorted(latest.user_tags), sorted(latest.system_tags)]
        facts["run"]["end_task"] = latest.end_task.pathspec
        facts["steps"] = [found.id for found in latest]
        facts["tasks"] = {}
        for found in [*latest, latest["_parameters"]]:
            for task in found:
                facts["tasks"][task.pathspec] = {
                    **{
                        name: describe(getattr(task, name))
                        for name in ("successful", "finished", "finished_at", "index")
                    },
                    # Where there is no log at all, as for _parameters, Metaflow says that there is an empty line.
                    **{name: getattr(task, name).strip() for name in ("stdout", "stderr")},
                    "runtime_name": task.runtime_name,
                    "current_attempt": task.current_attempt,
                    "origin_pathspec": task.origin_pathspec,
                    "failed": None if task.exception is None else [task.exception.type, task.exception.exception],
                    "metadata": sorted((m.name, m.type, str(m.value), m.created_at) for m in task.metadata),
                    "artifacts": {a.id: [a.sha, a.size, describe(a.finished_at)] for a in task},
                    "data": {a.id: describe(a.data) for a in task if a.id not in ("failure",)},
                }
        with open(os.path.join(HERE, "client_run.json"), "w", encoding="utf-8") as file:
            json.dump(facts, file, indent=1, sort_keys=True)
            file.write("\n")
        with tarfile.open(os.path.join(HERE, "client_run.tar.gz"), "w:gz") as archive:
            for name in (".metaflow", "data"):
                archive.add(os.path.join(root, name), name, filter=without_owner)


def parameters():
    with tempfile.TemporaryDirectory() as root:
        arguments = [part for name, value in GIVEN.items() for part in (f"--{name}", value)]
        run(root, "parameters_flow.py", *arguments)
        digests = {}
        base = os.path.join(root, ".metaflow", "ParametersFlow")
        with open(os.path.join(base, "latest_run"), encoding="utf-8") as file:
            number = file.read()
        for name, task in (("_parameters", "0"), ("start", "1")):
            with open(os.path.join(base, number, name, task, "0.data.json"), encoding="utf-8") as file:
                digests[name] = json.load(file)["objects"]
            digests[name].pop("_graph_info")
        with open(os.path.join(HERE, "parameters_flow.json"), "w", encoding="utf-8") as file:
            json.dump({"given": GIVEN, "digests": digests}, file, indent=1, sort_keys=True)
            file.write("\n")


if __name__ == "__main__":
    os.environ["TZ"] = "UTC"
    time.tzset()
    parameters()
    client_run()
