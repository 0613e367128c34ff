"""Answers questions about DAG files with a real Airflow, 2 or 3: one JSON object a line.

{"id": 1, "load": "path"} loads a file as Airflow's scheduler does and describes its DAGs.
{"id": 2, "run": "path", "conf": {…}, "widths": {"start": 2}} also runs its DAG, with pods that
only write down what they were told; a splitting step announces as many splits as widths says.

With "apart" the answer comes from a process of its own, for what leaves something behind.
"""

import json
import os
import shutil
import sys

# Whatever Airflow prints goes to standard error, the answers alone to standard output.
ANSWERS = os.fdopen(os.dup(1), "w", encoding="utf-8")
os.dup2(2, 1)

from airflow.providers.cncf.kubernetes.operators.pod import KubernetesPodOperator

try:
    from airflow.dag_processing.dagbag import DagBag
except ImportError:
    from airflow.models.dagbag import DagBag

DAGS = os.environ["AIRFLOW__CORE__DAGS_FOLDER"]
WATCHED = ("open", "socket.connect", "subprocess.Popen", "os.listdir")


def load(path):
    try:
        return DagBag(path, include_examples=False)
    except TypeError:
        return DagBag(path)


def reads_and_connections(path):
    """What importing a file opens, once the modules it needs are there, but for their own data."""
    with open(path, encoding="utf-8") as file:
        code = compile(file.read(), path, "exec")
    seen, watching = [], [True]

    def hook(event, arguments):
        if (
            watching
            and event in WATCHED
            and not str(arguments[0]).startswith(sys.prefix)
        ):
            seen.append(f"{event} {arguments[0]}")

    sys.addaudithook(hook)
    try:
        exec(code, {"__name__": "import_again"})  # noqa: S102
    finally:
        watching.clear()
    return seen


def mapped_group(task):
    return next((group.group_id for group in task.iter_mapped_task_groups()), None)


def seconds(delta):
    return delta.total_seconds() if delta is not None else None


def describe(dag):
    timetable = dag.timetable
    return {
        "tasks": {
            task.task_id: {
                "operator": type(task).__name__,
                "downstream": sorted(task.downstream_task_ids),
                "group": mapped_group(task),
                "retries": task.retries,
                "retry_delay": seconds(task.retry_delay),
                "execution_timeout": seconds(task.execution_timeout),
            }
            for task in dag.tasks
        },
        "schedule": None
        if type(timetable).__name__ == "NullTimetable"
        else timetable.summary,
        "timezone": str(
            getattr(timetable, "timezone", getattr(timetable, "_timezone", None))
        ),
        "max_active_tasks": dag.max_active_tasks,
        "catchup": dag.catchup,
        "doc": dag.doc_md,
        "params": dag.params.dump() if not any_required(dag) else None,
    }


def any_required(dag):
    return any(not param.has_value for _, param in dag.params.items())


def answer_load(path):
    bag = load(path)
    return {
        "errors": dict(bag.import_errors),
        "dags": {dag_id: describe(dag) for dag_id, dag in bag.dags.items()},
        "opened": reads_and_connections(path) if not bag.import_errors else [],
    }


def answer_run(path, conf, widths):
    told = []

    def pretend(operator, context, **_):
        environment = (
            {variable.name: variable.value for variable in operator.env_vars}
            if not isinstance(operator.env_vars, dict)
            else operator.env_vars
        )
        told.append(
            {
                "command": [*operator.cmds, *operator.arguments],
                "environment": environment,
                "run_id": context["run_id"],
            }
        )
        if operator.do_xcom_push:
            return {"splits": widths[operator.task_id]}
        return None

    copy = shutil.copy(path, DAGS)
    real = KubernetesPodOperator.execute_sync
    KubernetesPodOperator.execute_sync = pretend
    try:
        (dag,) = load(copy).dags.values()
        run = dag.test(run_conf=conf)
    finally:
        KubernetesPodOperator.execute_sync = real
        os.remove(copy)
    return {"state": str(getattr(run.state, "value", run.state)), "told": told}


def answer(question):
    try:
        if "load" in question:
            return answer_load(question["load"])
        return answer_run(question["run"], question["conf"], question["widths"])
    except Exception as error:  # noqa: BLE001
        return {"error": f"{type(error).__name__}: {error}"}


def reply(result):
    print(json.dumps(result), file=ANSWERS, flush=True)


def main():
    for line in sys.stdin:
        question = json.loads(line)
        if not question["apart"]:
            reply(answer(question))
            continue
        child = os.fork()
        if child == 0:
            reply(answer(question))
            os._exit(0)
        _, status = os.waitpid(child, 0)
        if status != 0:
            reply({"error": f"ended with {status}"})


main()
