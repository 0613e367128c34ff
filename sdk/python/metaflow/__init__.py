"""The package that flows import: Metaflow's authoring interface, run by mf.

Everything is imported when it is first asked for, because the import of this package is part of every task's start.
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from importlib.machinery import ModuleSpec
    from typing import Any, List, NoReturn, Optional

    from ._run.client import (
        DataArtifact,
        Flow,
        Metaflow,
        Run,
        Step,
        Task,
        default_namespace,
        get_metadata,
        get_namespace,
        metadata,
        namespace,
    )
    from ._run.current import current
    from .flowspec import FlowSpec
    from .includefile import IncludeFile
    from .parameters import JSONType, Parameter
    from .user_configs.config_parameters import Config, ConfigValue, config_expr
    from .user_decorators.user_flow_decorator import FlowMutator
    from .user_decorators.user_step_decorator import (
        USER_SKIP_STEP,
        StepMutator,
        UserStepDecorator,
        user_step_decorator,
    )

__version__ = "2.19.39+mf"

_STEP_DECORATORS = (
    "airflow_internal argo_workflows_internal batch card catch conda environment kubernetes parallel pypi "
    "pytorch_parallel resources retry secrets step step_functions_internal timeout unbounded_test_foreach_internal"
)
_FLOW_DECORATORS = (
    "airflow_external_task_sensor airflow_s3_key_sensor conda_base exit_hook project pypi_base schedule trigger "
    "trigger_on_finish"
)
_MODULES = {
    "flowspec": "FlowSpec",
    "parameters": "Parameter JSONType JSONTypeClass",
    "includefile": "IncludeFile",
    "decorators": _STEP_DECORATORS + " " + _FLOW_DECORATORS,
    "user_configs.config_parameters": "Config ConfigValue config_expr",
    "user_decorators.user_step_decorator": "USER_SKIP_STEP StepMutator UserStepDecorator user_step_decorator",
    "user_decorators.user_flow_decorator": "FlowMutator",
    "_run.current": "current",
    "_run.client": "DataArtifact Flow Metaflow Run Step Task default_namespace get_metadata get_namespace metadata "
    "namespace",
}
_WHERE = {name: module for module, names in _MODULES.items() for name in names.split()}

__all__ = [  # noqa: PLE0604, F822 (the names are made by __getattr__)
    *_WHERE
]


def __getattr__(name: str) -> Any:
    if name.startswith("_"):
        # Also for this package's own modules: "from . import x" asks here before it imports x.
        raise AttributeError(f"module 'metaflow' has no attribute {name!r}")
    module = _WHERE.get(name)
    if module is not None:
        import importlib

        value = getattr(importlib.import_module("." + module, __name__), name)
        globals()[name] = value
        return value
    return _refuse(name)


def _refuse(name: str) -> Any:
    from . import _names

    if name in _names.EXTENSION_DECORATORS:
        from .decorators import unknown

        return unknown(name, _names.EXTENSION_DECORATORS[name])
    reason = _names.explain(name)
    if reason:
        raise ImportError(reason, name="metaflow")
    from ._state import nearest

    near = nearest(name, list(_WHERE))
    raise AttributeError(f"module 'metaflow' has no attribute {name!r}" + (f"; did you mean {near!r}?" if near else ""))


def __dir__() -> List[str]:
    return sorted({*globals(), *_WHERE})


class _MissingModules:
    """Explains imports of Metaflow's modules that are not here. It is asked only after everything else."""

    @staticmethod
    def find_spec(name: str, path: Any = None, target: Any = None) -> Optional[ModuleSpec]:
        if name.startswith("metaflow."):
            from . import _names

            reason = _names.explain(name[len("metaflow.") :])
            if reason:
                raise ModuleNotFoundError(reason, name=name)
        return None


def _main() -> NoReturn:
    raise SystemExit("the package metaflow of mf has no command line of its own: see mf --help")


sys.meta_path.append(_MissingModules)  # type: ignore[arg-type]
