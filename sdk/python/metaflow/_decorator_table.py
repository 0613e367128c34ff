"""Metaflow's decorators: their attributes and the defaults, exactly as Metaflow has them.

Some defaults are texts ("3"): stored runs hold them that way.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict

_TMPFS: Dict[str, Any] = {"tmpfs_tempdir": True, "tmpfs_size": None, "tmpfs_path": "/metaflow_temp"}
_ENVIRONMENT: Dict[str, Any] = {"packages": {}, "libraries": {}, "python": None, "disabled": None}
_PYPI: Dict[str, Any] = {"packages": {}, "python": None, "disabled": None}

STEP_DECORATORS: Dict[str, Dict[str, Any]] = {
    "airflow_internal": {},
    "argo_workflows_internal": {"auto-emit-argo-events": True},
    "batch": {
        "cpu": None,
        "gpu": None,
        "memory": None,
        "image": None,
        "queue": None,
        "iam_role": None,
        "execution_role": None,
        "shared_memory": None,
        "max_swap": None,
        "swappiness": None,
        "inferentia": None,
        "trainium": None,
        "efa": None,
        "host_volumes": None,
        "efs_volumes": None,
        "use_tmpfs": False,
        "aws_batch_tags": None,
        **_TMPFS,
        "ephemeral_storage": None,
        "log_driver": None,
        "log_options": None,
        "executable": None,
        "privileged": False,
    },
    "card": {
        "type": "default",
        "options": {},
        "scope": "task",
        "rank": None,
        "timeout": 45,
        "id": None,
        "save_errors": True,
        "customize": False,
        "refresh_interval": 5,
    },
    "catch": {"var": None, "print_exception": True},
    "conda": _ENVIRONMENT,
    "environment": {"vars": {}},
    "kubernetes": {
        "cpu": "1",
        "memory": "4096",
        "disk": "10240",
        "image": None,
        "image_pull_policy": None,
        "image_pull_secrets": None,
        "service_account": None,
        "secrets": None,
        "node_selector": None,
        "namespace": None,
        "gpu": None,
        "gpu_vendor": None,
        "tolerations": None,
        "labels": None,
        "annotations": None,
        "use_tmpfs": None,
        **_TMPFS,
        "persistent_volume_claims": None,
        "shared_memory": None,
        "port": None,
        "compute_pool": None,
        "executable": None,
        "hostname_resolution_timeout": 600,
        "qos": "burstable",
        "extended_resources": {},
        "security_context": None,
    },
    "parallel": {},
    "pypi": _PYPI,
    "pytorch_parallel": {"master_port": None},
    "resources": {"cpu": "1", "gpu": None, "disk": None, "memory": "4096", "shared_memory": None},
    "retry": {"times": "3", "minutes_between_retries": "2"},
    "secrets": {"sources": [], "role": None, "allow_override": False},
    "step_functions_internal": {},
    "timeout": {"seconds": 0, "minutes": 0, "hours": 0},
    "unbounded_test_foreach_internal": {},
}

_SENSOR: Dict[str, Any] = {
    "timeout": 3600,
    "poke_interval": 60,
    "mode": "reschedule",
    "exponential_backoff": True,
    "pool": None,
    "soft_fail": False,
    "name": None,
    "description": None,
}

FLOW_DECORATORS: Dict[str, Dict[str, Any]] = {
    "airflow_external_task_sensor": {
        **_SENSOR,
        "external_dag_id": None,
        "external_task_ids": None,
        "allowed_states": ["success"],
        "failed_states": None,
        "execution_delta": None,
        "check_existence": True,
    },
    "airflow_s3_key_sensor": {
        **_SENSOR,
        "bucket_key": None,
        "bucket_name": None,
        "wildcard_match": False,
        "aws_conn_id": None,
        "verify": None,
    },
    "conda_base": _ENVIRONMENT,
    "exit_hook": {"on_success": [], "on_error": [], "options": {}},
    "project": {"name": None, "production": False, "branch": None},
    "pypi_base": _PYPI,
    "schedule": {"cron": None, "weekly": False, "daily": True, "hourly": False, "timezone": None},
    "trigger": {"event": None, "events": [], "options": {}},
    "trigger_on_finish": {"flow": None, "flows": [], "options": {}},
}

#: Decorators that may stand several times on one step or flow.
REPEATABLE = frozenset({"airflow_external_task_sensor", "airflow_s3_key_sensor", "card", "exit_hook"})
