"""The job `init`: compute the values of parameters, configs and constants: the artifacts of `_parameters`."""

from __future__ import annotations

import os
from types import FunctionType, MethodType

from metaflow.exception import MetaflowException
from metaflow.includefile import IncludedFile, IncludeFile
from metaflow.parameters import Parameter, ParameterContext

from . import artifacts
from .names import artifact_names
from .protocol import ProtocolError, TaskChannel

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from .protocol import Message

#: The order of a descriptor's keys, which is part of its pickle.
_DESCRIPTOR_KEYS = ("type", "url", "is_text", "encoding", "note", "sub-type", "size")


class ParameterError(Exception):
    """A value that could not be made; `parameter` is the variable's name."""

    def __init__(self, parameter: str, cause: BaseException) -> None:
        super().__init__(parameter)
        self.parameter = parameter
        self.cause = cause


def run(loaded: Any, channel: TaskChannel, job: Message) -> int:
    """Make the artifacts and report; returns the exit code of the process."""
    writer = artifacts.Writer(channel, job.get("tempdir") or ".", int(job.get("inline_max") or 262144))
    os.environ.update(job.get("env") or {})
    done: Message = {"op": "done", "ok": True, "transition": None}
    try:
        for name, value in _values(loaded, channel, job):
            try:
                writer.put(name, value)
            except (artifacts.PickleError, OSError) as error:
                raise ParameterError(name, error) from error
    except BaseException as error:
        from .failures import report

        parameter = error.parameter if isinstance(error, ParameterError) else None
        cause = error.cause if isinstance(error, ParameterError) else error
        done = {
            "op": "done",
            "ok": False,
            "exception": report(cause, printed=job.get("print_failure", True)),
            "parameter": parameter,
        }
    channel.post(done)
    channel.flush()
    return 0 if done["ok"] else 1


def _values(loaded: Any, channel: TaskChannel, job: Message) -> Iterator[tuple[str, Any]]:
    values: dict[str, Any] = dict(loaded.configs)
    given = job.get("parameters") or {}
    for name in given:
        if name not in loaded.parameters:
            raise ParameterError(name, MetaflowException(f"the flow has no parameter '{name}'"))
    context = _context(loaded, job)
    for name, parameter in loaded.parameters.items():
        try:
            values[name] = _value(parameter, name, given.get(name), context, channel)
        except Exception as error:
            raise ParameterError(name, error) from error
    values.update(loaded.constants)
    yield from values.items()
    flow = loaded.new_instance()
    for name in artifact_names(loaded.cls, flow):
        value = getattr(flow, name)
        if name not in values and not isinstance(value, (MethodType, FunctionType, Parameter)):
            yield name, value


def _context(loaded: Any, job: Message) -> ParameterContext:
    from metaflow.user_configs.config_parameters import ConfigValue

    return ParameterContext(
        flow_name=job.get("flow") or loaded.cls.__name__,
        user_name=job.get("username") or "",
        parameter_name="",
        logger=print,
        ds_type=job.get("ds_type") or "local",
        configs=ConfigValue(loaded.configs),
    )


def _value(parameter: Any, name: str, text: Any, context: ParameterContext, channel: TaskChannel) -> Any:
    if isinstance(parameter, IncludeFile):
        path = text if text is not None else parameter.default_value(context)
        return None if path is None else _include(parameter, name, str(path), channel)
    value = parameter.convert(text) if text is not None else parameter.default_value(context)
    if value is None and parameter.required and text is None:
        raise MetaflowException(f"parameter '{parameter.name}' is required")
    return value


def _include(parameter: Any, name: str, path: str, channel: TaskChannel) -> IncludedFile:
    if path.startswith(("{", '"{')):
        return IncludedFile(_descriptor(parameter, path))
    full = os.path.abspath(os.path.expanduser(path))
    is_text = parameter.is_text is not False
    request = {
        "op": "include",
        "name": name,
        "path": full,
        "is_text": is_text,
        "encoding": parameter.encoding or "utf-8",
    }
    try:
        with open(full, "rb"):
            pass
        answer, _ = channel.request(request)
    except OSError as error:
        raise MetaflowException(
            f"parameter '{parameter.name}': the file '{path}' cannot be read: {error.strerror}"
        ) from None
    except ProtocolError as error:
        raise MetaflowException(f"parameter '{parameter.name}': '{path}' cannot be stored: {error}") from None
    return IncludedFile(_in_order(answer["descriptor"]))


def _descriptor(parameter: Any, text: str) -> dict[str, Any]:
    """Parse the descriptor of a file that was stored when the flow was deployed."""
    import json

    try:
        value = json.loads(text)
        if isinstance(value, str):
            value = json.loads(value)
        if not isinstance(value, dict):
            raise ValueError("not an object")
    except ValueError as error:
        raise MetaflowException(
            f"parameter '{parameter.name}' is neither a path nor the descriptor of a stored file: {error}"
        ) from None
    return value


def _in_order(descriptor: dict[str, Any]) -> dict[str, Any]:
    known = {key: descriptor[key] for key in _DESCRIPTOR_KEYS if key in descriptor}
    return {**known, **descriptor}
