"""Airflow DAG of the flow ThreeDeepFlow.

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
RUN = ["run", "--flow", "ThreeDeepFlow", "--run", "{{ mf_run_id(dag.dag_id, run_id) }}"]
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
    dag_id="ThreeDeepFlow",
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

    @task_group(group_id="start-foreach-1", prefix_group_id=False)
    def body_start_1(path):
        pod(
            task_id="x",
            arguments=[*RUN, "--step", "x", "--path", path, *ATTEMPT],
            env_vars={**ENV, "MF_ENGINE_OUTPUTS_FILE": "/airflow/xcom/return.json"},
            do_xcom_push=True,
        )

    each_start_1 = body_start_1.expand(path=paths_start)
    paths_x = split_paths.override(task_id="x-paths")(
        paths_start,
        dag.get_task("x").output,
    )

    @task_group(group_id="x-foreach-1", prefix_group_id=False)
    def body_x_1(path):
        pod(
            task_id="y",
            arguments=[*RUN, "--step", "y", "--path", path, *ATTEMPT],
            env_vars={**ENV, "MF_ENGINE_OUTPUTS_FILE": "/airflow/xcom/return.json"},
            do_xcom_push=True,
        )

    each_x_1 = body_x_1.expand(path=paths_x)
    paths_y = split_paths.override(task_id="y-paths")(paths_x, dag.get_task("y").output)

    @task_group(group_id="y-foreach", prefix_group_id=False)
    def body_y(path):
        pod(task_id="z", arguments=[*RUN, "--step", "z", "--path", path, *ATTEMPT])

    each_y = body_y.expand(path=paths_y)

    @task_group(group_id="x-foreach-2", prefix_group_id=False)
    def body_x_2(path):
        pod(
            task_id="join_z",
            arguments=[*RUN, "--step", "join_z", "--path", path, *ATTEMPT],
        )

    each_x_2 = body_x_2.expand(path=paths_x)

    @task_group(group_id="start-foreach-2", prefix_group_id=False)
    def body_start_2(path):
        pod(
            task_id="join_y",
            arguments=[*RUN, "--step", "join_y", "--path", path, *ATTEMPT],
        )

    each_start_2 = body_start_2.expand(path=paths_start)
    step_join_x = pod(
        task_id="join_x",
        arguments=[*RUN, "--step", "join_x", "--path", "", *ATTEMPT],
    )
    step_end = pod(
        task_id="end",
        arguments=[*RUN, "--step", "end", "--path", "", *ATTEMPT],
    )

    each_y >> each_x_2
    each_x_2 >> each_start_2
    each_start_2 >> step_join_x
    step_join_x >> step_end
