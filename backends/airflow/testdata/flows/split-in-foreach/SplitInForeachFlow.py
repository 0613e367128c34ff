"""Airflow DAG of the flow SplitInForeachFlow.

Made by mf 0.0.0-test from flow.py; compile the flow again instead of editing this.
"""

import hashlib
from datetime import timedelta

import pendulum
from airflow.exceptions import AirflowFailException
from airflow.providers.cncf.kubernetes.operators.pod import KubernetesPodOperator
from kubernetes.client import models as k8s

try:
    from airflow.sdk import DAG, task, task_group
except ImportError:  # Airflow 2
    from airflow import DAG
    from airflow.decorators import task, task_group


def mf_run_id(dag_id, dag_run_id):
    """The id of the flow's run: the same for all tasks of a DAG run."""
    digest = hashlib.sha256(f"{dag_run_id}-{dag_id}".encode()).hexdigest()
    return "airflow-" + digest[:12]


@task(retries=2)
def split_paths(parents, outputs):
    """The split paths below the given ones, as many as each splitting task announced."""
    outputs = list(outputs)
    if len(parents) != len(outputs):
        message = f"{len(outputs)} of {len(parents)} tasks announced splits"
        raise AirflowFailException(message)
    paths = [
        f"{parent},{i}" if parent else str(i)
        for parent, output in zip(parents, outputs)
        for i in range(output["splits"])
    ]
    most = 1024
    if len(paths) > most:
        raise AirflowFailException(
            f"{len(paths)} splits, but Airflow maps at most {most}: raise core.max_map_length "
            "and compile the flow with the same number as airflow.max-map-length"
        )
    return paths


# The parts of the command line that all tasks share; Airflow fills in the braces.
RUN = [
    "run",
    "--flow",
    "SplitInForeachFlow",
    "--run",
    "{{ mf_run_id(dag.dag_id, run_id) }}",
]
ATTEMPT = [
    "--attempt",
    "{{ [ti.try_number - 1 - ti.max_tries + task.retries, 0] | max }}",
]

# The folder that brings mf-task into each pod.
MF_VOLUME = k8s.V1Volume(name="mf", empty_dir=k8s.V1EmptyDirVolumeSource())
MF_MOUNT = k8s.V1VolumeMount(name="mf", mount_path="/mf")

# What all tasks share.
ENV = {
    "MF_DATASTORE": "s3://bucket/mf",
    "MF_PACKAGE": "0123456789abcdef0123456789abcdef01234567",
    "MF_RUNTIME": "airflow",
    "MF_SERVICE_URL": "http://mf.example:8080",
    "MF_USER": "tester",
}
POD = {
    "image": "python:3.12-slim",
    "cmds": ["/mf/mf-task"],
    "env_vars": ENV,
    "container_resources": k8s.V1ResourceRequirements(
        requests={"cpu": "1", "memory": "4096M", "ephemeral-storage": "10240M"},
    ),
    "init_containers": [
        k8s.V1Container(
            name="mf-task",
            image="ghcr.io/mf-run/mf-task:0.0.0-test",
            command=["/mf-task", "install", "/mf/mf-task"],
            volume_mounts=[MF_MOUNT],
        ),
    ],
    "volumes": [MF_VOLUME],
    "volume_mounts": [MF_MOUNT],
    "startup_timeout_seconds": 3600,
    "deferrable": False,
}


def pod(**settings):
    """A task of the flow: mf-task in a pod of its own."""
    return KubernetesPodOperator(**{**POD, **settings})


with DAG(
    dag_id="SplitInForeachFlow",
    schedule=None,
    start_date=pendulum.datetime(2024, 1, 1, tz="UTC"),
    catchup=False,
    max_active_tasks=100,
    default_args={"retries": 0, "execution_timeout": timedelta(days=5)},
    user_defined_macros={"mf_run_id": mf_run_id},
    tags=["mf"],
) as dag:
    step_start = pod(
        task_id="start",
        arguments=[*RUN, "--step", "start", "--path", "", *ATTEMPT],
        env_vars={**ENV, "MF_ENGINE_OUTPUTS_FILE": "/airflow/xcom/return.json"},
        do_xcom_push=True,
    )
    paths_start = split_paths.override(task_id="start-paths")([""], [step_start.output])

    @task_group(group_id="start-foreach", prefix_group_id=False)
    def body_start(path):
        step_body = pod(
            task_id="body",
            arguments=[*RUN, "--step", "body", "--path", path, *ATTEMPT],
        )
        step_square = pod(
            task_id="square",
            arguments=[*RUN, "--step", "square", "--path", path, *ATTEMPT],
        )
        step_negate = pod(
            task_id="negate",
            arguments=[*RUN, "--step", "negate", "--path", path, *ATTEMPT],
        )
        step_both = pod(
            task_id="both",
            arguments=[*RUN, "--step", "both", "--path", path, *ATTEMPT],
        )
        step_body >> [step_square, step_negate]
        step_square >> step_both
        step_negate >> step_both

    each_start = body_start.expand(path=paths_start)
    step_all = pod(
        task_id="all",
        arguments=[*RUN, "--step", "all", "--path", "", *ATTEMPT],
    )
    step_end = pod(
        task_id="end",
        arguments=[*RUN, "--step", "end", "--path", "", *ATTEMPT],
    )

    each_start >> step_all
    step_all >> step_end
