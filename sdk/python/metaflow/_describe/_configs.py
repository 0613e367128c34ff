"""Finds the values of a flow's configs, from what the user gave or from their defaults."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Dict, Mapping, Optional

    from ..parameters import ParameterContext
    from ._diagnostics import Diagnostics, Files


def normal(name: str) -> str:
    """Return the form in which names of options are compared."""
    return name.replace("-", "_").lower()


class ConfigReader:
    """Reads configs; what is wrong with them becomes diagnostics."""

    def __init__(
        self,
        files: Files,
        diagnostics: Diagnostics,
        paths: Mapping[str, str],
        texts: Mapping[str, str],
        context: Callable[[], ParameterContext],
        data: Mapping[str, Any],
    ) -> None:
        self._files = files
        self._diagnostics = diagnostics
        self._paths = {normal(k): v for k, v in paths.items()}
        self._texts = {normal(k): v for k, v in texts.items()}
        self._data = {normal(k): v for k, v in data.items()}
        self._given = {normal(k): k for k in (*paths, *texts)}
        self._context = context

    def read(self, configs: Dict[str, Any]) -> Dict[str, Any]:
        """Return the values (as the flow's code sees them) by variable name."""
        names = {normal(config.name) for config in configs.values()}
        for key, name in self._given.items():
            if key not in names:
                known = ", ".join(sorted(c.name for c in configs.values())) or "none"
                self._diagnostics.add(
                    "unknown-config", {}, f"the flow has no config {name!r}", f"Its configs are: {known}"
                )
        return {variable: self._value(config) for variable, config in configs.items()}

    def _fail(self, code: str, config: Any, summary: str, detail: str = "") -> None:
        self._diagnostics.add(code, self._files.span(config.place), summary, detail)

    def _value(self, config: Any) -> Any:
        if normal(config.name) in self._data:
            return config.wrap(self._data[normal(config.name)])
        text = self._text(config)
        if text is None:
            return None
        try:
            return config.wrap(config.read(text))
        except Exception as error:
            kind = "JSON" if config.parser is None else "what its parser reads"
            self._fail("config-value", config, f"the value of config {config.name!r} is not {kind}: {error}")
            return None

    def _text(self, config: Any) -> Optional[str]:
        key = normal(config.name)
        if key in self._paths and key in self._texts:
            self._fail("config-twice", config, f"config {config.name!r} is given both a file and a value")
        if key in self._texts:
            return self._texts[key]
        if key in self._paths:
            return self._file(config, self._paths[key])
        try:
            default, value = (self._call(v) for v in (config.default, config.default_value))
        except Exception as error:
            self._fail("config-value", config, f"the default of config {config.name!r} failed: {error}")
            return None
        if default is not None:
            return self._file(config, default)
        if value is None:
            if config.required:
                self._fail(
                    "config-missing",
                    config,
                    f"config {config.name!r} needs a value",
                    f"Give it with --config {config.name} FILE or --config-value {config.name} JSON",
                )
            return None
        if isinstance(value, str):
            return value
        import json

        try:
            return json.dumps(value)
        except (TypeError, ValueError) as error:
            self._fail("config-value", config, f"the default_value of config {config.name!r} is not JSON: {error}")
            return None

    def _call(self, value: Any) -> Any:
        return value(self._context()) if callable(value) else value

    def _file(self, config: Any, path: Any) -> Optional[str]:
        """Read a file; a relative path is below the working directory, else below the flow's folder."""
        path = os.fspath(path)
        reason = ""
        for folder in ("", self._files.folder):
            try:
                with open(os.path.join(folder, os.path.expanduser(path)), encoding="utf-8") as file:
                    return file.read()
            except OSError as error:
                reason = reason or error.strerror or str(error)
            except UnicodeDecodeError as error:
                reason = f"it is not UTF-8 text ({error.reason})"
                break
        self._fail("config-file", config, f"the file {path!r} of config {config.name!r} cannot be read: {reason}")
        return None


def by_name(configs: Dict[str, Any], values: Dict[str, Any]) -> Dict[str, Any]:
    """Return the values by the names that expressions use: a config's own, and its variable's."""
    named: Dict[str, Any] = dict(values)
    named.update({config.name: values[variable] for variable, config in configs.items()})
    return named


__all__ = ["ConfigReader", "by_name", "normal"]
