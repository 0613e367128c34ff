"""Airflow DAG of the flow Sized.

Made by mf 0.0.0-test from flow.py; compile the flow again instead of editing this.
"""

import hashlib
from datetime import timedelta

import pendulum
from airflow.providers.cncf.kubernetes.operators.pod import KubernetesPodOperator
from kubernetes.client import models as k8s

try:
    from airflow.sdk import DAG
except ImportError:  # Airflow 2
    from airflow import DAG


def mf_run_id(dag_id, dag_run_id):
    """The id of the flow's run: the same for all tasks of a DAG run."""
    digest = hashlib.sha256(f"{dag_run_id}-{dag_id}".encode()).hexdigest()
    return "airflow-" + digest[:12]


# The parts of the command line that all tasks share; Airflow fills in the braces.
RUN = ["run", "--flow", "Sized", "--run", "{{ mf_run_id(dag.dag_id, run_id) }}"]
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
    dag_id="Sized",
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
        container_resources=k8s.V1ResourceRequirements(
            requests={"cpu": "500m", "memory": "2000M", "ephemeral-storage": "10240M"},
        ),
    )
    step_end = pod(
        task_id="end",
        arguments=[*RUN, "--step", "end", "--path", "", *ATTEMPT],
        container_resources=k8s.V1ResourceRequirements(
            requests={"cpu": "8", "memory": "16000M", "ephemeral-storage": "50000M"},
        ),
        volumes=[
            MF_VOLUME,
            k8s.V1Volume(
                name="shm",
                empty_dir=k8s.V1EmptyDirVolumeSource(
                    medium="Memory",
                    size_limit="512Mi",
                ),
            ),
        ],
        volume_mounts=[MF_MOUNT, k8s.V1VolumeMount(name="shm", mount_path="/dev/shm")],
    )

    step_start >> step_end
