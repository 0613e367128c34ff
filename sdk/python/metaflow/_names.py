"""Names that exist in Metaflow or in its extension packages and that mf does not have."""

from __future__ import annotations

#: Names of the package ``metaflow`` itself, and its modules that users import.
NOT_YET = frozenset(
    """
    ArgoEvent ConfigInput DeployedFlow Deployer Inputs JSONTypeClass NBDeployer NBRunner R Runner S3 TriggeredRun
    cards cli cli_args cli_components client clone_util cmd cmd_with_io conda_environment_yml_parser datastore
    datatools debug default_metadata event_logger extension_support get_aws_client get_namespaces graph
    info_file inspect_spin lint meta_files metadata_provider metaflow_config metaflow_config_funcs
    metaflow_current metaflow_environment metaflow_git metaflow_profile metaflow_version mflog monitor multicore_utils
    namespaced_event_name package package_sources packaging_sys parallel_imap_unordered parallel_map procpoll profile
    pylint_wrapper pyproject_toml_parser requirements_txt_parser runner runtime sidecar system system_context
    tagging_util task tracing tuple_util unbounded_foreach util vendor version yaml_parser
    plugins.airflow plugins.argo.argo_client plugins.argo.argo_workflows plugins.aws plugins.azure plugins.cards
    plugins.datastores plugins.datatools plugins.env_escape plugins.events_decorator plugins.exit_hook
    plugins.frameworks plugins.gcp plugins.kubernetes
    plugins.metadata_providers plugins.parsers plugins.project_decorator plugins.pypi plugins.secrets plugins.uv
    """.split()
)

#: Decorators of extension packages, by name, with the package that brings them.
EXTENSION_DECORATORS = {
    "checkpoint": "metaflow-checkpoint",
    "huggingface_hub": "metaflow-checkpoint",
    "model": "metaflow-checkpoint",
    "deepspeed": "metaflow-deepspeed",
    "gpu_profile": "outerbounds",
    "metaflow_ray": "metaflow-ray",
    "mpi": "metaflow-mpi",
    "nim": "outerbounds",
    "nvct": "outerbounds",
    "nvidia": "outerbounds",
    "ollama": "outerbounds",
    "s3_proxy": "outerbounds",
    "slurm": "metaflow-slurm",
    "snowpark": "outerbounds",
    "tensorflow_parallel": "metaflow-tensorflow",
    "titus": "metaflow-netflixext",
    "torchrun": "metaflow-torchrun",
    "vllm": "outerbounds",
}


def explain(name: str) -> str:
    """Say that a name is Metaflow's and that mf does not have it; an empty text when it is not Metaflow's."""
    if name in NOT_YET or any(name.startswith(known + ".") for known in NOT_YET):
        return (
            f"metaflow.{name} exists in Metaflow, but mf does not have it yet. What mf has of Metaflow is in the "
            "support table of its documentation"
        )
    return ""
