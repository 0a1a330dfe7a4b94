"""Settings from their sources: command line > environment > config.json > default."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from typing import Any, NamedTuple

from azmlinfsrv.errors import ConfigurationError
from azmlinfsrv.setting import Row
from azmlinfsrv.settings import Settings, rows

_TRUE = frozenset({"true", "1", "yes", "y", "on", "t"})
_FALSE = frozenset({"false", "0", "no", "n", "off", "f"})


class Configuration(NamedTuple):
    """Settings and how they came about.

    Attributes:
        settings: the values.
        sources: for each setting that is not at its default, where its value came from.
        config_file: path of the config.json that was read, or "".
        unknown_keys: keys of that file that are no settings.
    """

    settings: Settings
    sources: Mapping[str, str]
    config_file: str
    unknown_keys: tuple[str, ...]


def coerce(row: Row, value: Any, source: str) -> Any:
    """Return `value` as the row's type; a string is parsed, None and (for paths) false are "not set".

    Raises:
        ConfigurationError: names the value, its source and what was expected.
    """
    if value is None or (row.type is str and value is False):
        return row.default
    parsed = _parse(row, value)
    if parsed is None:
        shown = "the value" if row.spec.secret else repr(value)
        raise ConfigurationError(f"{shown} from {source} is not valid: expected {row.expected}")
    return parsed


def _parse(row: Row, value: Any) -> str | float | bool | None:
    """Return the parsed value, or None where it is not valid."""
    if row.type is bool:
        word = str(value).strip().lower() if isinstance(value, (str, int)) else ""
        return True if word in _TRUE else False if word in _FALSE else None
    if row.type is int:
        return _parse_int(row, value)
    if row.type is float:
        return _parse_float(row, value)
    if not isinstance(value, str):
        return None
    if not row.spec.choices:
        return value
    word = dict(row.spec.aliases).get(value.strip().upper(), value.strip())
    return next((choice for choice in row.spec.choices if choice.lower() == word.lower()), None)


def _parse_int(row: Row, value: Any) -> int | None:
    if isinstance(value, bool) or not isinstance(value, (int, str, float)):
        return None
    try:
        number = int(value)
    except (ValueError, OverflowError):
        return None
    if isinstance(value, float) and number != value:
        return None
    return number if _is_within(row, number) else None


def _parse_float(row: Row, value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, (int, str, float)):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) and _is_within(row, number) else None


def _is_within(row: Row, number: float) -> bool:
    spec = row.spec
    too_small = spec.minimum is not None and number < spec.minimum
    too_large = spec.maximum is not None and number > spec.maximum
    return not (too_small or too_large)


def load_configuration(arguments: Mapping[str, Any], environ: Mapping[str, str], cwd: str) -> Configuration:
    """Merge the sources.

    Args:
        arguments: settings given on the command line, by name.
        environ: the environment.
        cwd: working directory, to which paths on the command line are relative; also the default of
            AML_APP_ROOT (release 1.5.1).

    Raises:
        ConfigurationError: a value or the file is not valid.
    """
    values: dict[str, Any] = {"app_root": cwd}
    sources: dict[str, str] = {}
    given = {**_from_environment(environ), **_from_arguments(arguments, cwd)}
    path = _find_file({name: value for name, (value, _) in given.items()}, cwd)
    in_file, unknown = _from_file(path) if path else ({}, ())
    for name, (value, source) in {**in_file, **given}.items():
        values[name] = coerce(rows()[name], value, source)
        sources[name] = source
    settings = Settings(**values)
    return Configuration(settings, sources, path, unknown)


_Found = dict[str, tuple[Any, str]]


def _from_arguments(arguments: Mapping[str, Any], cwd: str) -> _Found:
    found: _Found = {}
    for name, value in arguments.items():
        if name in ("entry_script", "config_file"):
            if not value:
                continue  # release 1.5.1 takes an empty name for none
            value = os.path.realpath(os.path.join(cwd, value))
        found[name] = (value, f"command line ({rows()[name].spec.flag})")
    if "app_insights_key" in found:
        # Release 1.5.1: a key on the command line means that telemetry is wanted.
        found["app_insights_enabled"] = (True, found["app_insights_key"][1])
    return found


def _from_environment(environ: Mapping[str, str]) -> _Found:
    found: _Found = {}
    # Release 1.5.1 reads what config.json may set in any case of letters, the exact one first.
    any_case = {**{name.upper(): value for name, value in environ.items()}, **environ}
    for name, row in rows().items():
        source = any_case if row.spec.in_file else environ
        variable = next((variable for variable in row.spec.variables if variable in source), None)
        if variable is not None:
            found[name] = (source[variable], f"environment variable {variable}")
    return found


def _find_file(given: Mapping[str, Any], cwd: str) -> str:
    """Return the path of the configuration file, or ""; one that is named and not there is left out of account."""
    named = given.get("config_file")
    if named and _has_content(named):
        return str(named)
    app_root = given.get("app_root") or cwd
    script = given.get("entry_script")
    folders = [app_root, os.path.dirname(os.path.join(app_root, script))] if script else [app_root]
    for folder in folders:
        path = os.path.join(folder, "config.json")
        if _has_content(path):
            return path
    return ""


def _has_content(path: str) -> bool:
    return os.path.isfile(path) and os.path.getsize(path) > 0


def _from_file(path: str) -> tuple[_Found, tuple[str, ...]]:
    """Return the settings of a configuration file and its unknown keys.

    Raises:
        ConfigurationError: the file is not a JSON object.
    """
    try:
        with open(path, encoding="utf-8-sig") as file:
            content = json.load(file)
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"config file {path!r} is not valid JSON: {error}") from error
    if not isinstance(content, dict):
        raise ConfigurationError(f"config file {path!r} must hold a JSON object")
    found: _Found = {}
    known = set()
    for name, row in rows().items():
        for key in row.spec.variables if row.spec.in_file else ():
            known.add(key)
            if name not in found and content.get(key) is not None:
                found[name] = (content[key], f"key {key} of config file {path}")
    return found, tuple(key for key in content if key not in known)
