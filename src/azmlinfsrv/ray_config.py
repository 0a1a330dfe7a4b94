"""A configuration file of Ray Serve that deploys a script."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from azmlinfsrv import ray_arguments, recipe
from azmlinfsrv.errors import UsageError
from azmlinfsrv.mlflow_folder import find_model
from azmlinfsrv.ray import DEPLOYMENT

_PATHS = ("entry_script", "model_dir", "config_file")


@dataclass(frozen=True)
class Wishes:
    """What is said of the application besides its arguments.

    Attributes:
        name: its name.
        route_prefix: prefix of its paths.
        host: address that Ray's proxies listen on.
        port: port that they listen on.
        working_dir: where Ray gets the user's folder from, or "" where it is on every machine.
    """

    name: str = "scoring"
    route_prefix: str = "/"
    host: str = "0.0.0.0"  # noqa: S104 - Ray's own default for a cluster
    port: str = "8000"
    working_dir: str = ""


def render(arguments: Sequence[str], wishes: Wishes, folder: str) -> str:
    """Return the file's text: YAML.

    Args:
        arguments: `NAME=VALUE`, as `serve run` takes them.
        wishes: the rest.
        folder: the user's folder, in which a script and a model that are not named are found.

    Raises:
        ConfigurationError: an argument cannot be used, or there is no script.
    """
    given = _found(_pairs(arguments), folder)
    if not wishes.working_dir:
        given = {"app_root": folder, **given}
        given.update({name: os.path.join(folder, given[name]) for name in _PATHS if given.get(name)})
    parsed = ray_arguments.parse(given)
    return "\n".join(_lines(parsed, wishes)) + "\n"


def _pairs(arguments: Sequence[str]) -> dict[str, str]:
    """Return the arguments by name.

    Raises:
        UsageError: one has no value.
    """
    given: dict[str, str] = {}
    for argument in arguments:
        name, equals, value = argument.partition("=")
        if not (name and equals):
            raise UsageError(f"{argument!r} is not NAME=VALUE")
        given[name] = value
    return given


def _found(given: dict[str, str], folder: str) -> dict[str, str]:
    """Return the arguments, with the script and the model of the folder where they name none.

    Raises:
        ConfigurationError: there is no script and no MLflow model, or several.
    """
    found: dict[str, str] = {}
    if "model_dir" not in given and os.path.isdir(os.path.join(folder, "model")):
        found["model_dir"] = "model"
    if not (given.get("entry_script") or given.get("config_file")):
        found = {**_script(folder, {**found, **given}), **found}
    return {**found, **given}


def _script(folder: str, given: Mapping[str, str]) -> dict[str, str]:
    """Return the argument that names the script of the folder, and none where an MLflow model needs none.

    Raises:
        ConfigurationError: there is neither, or several.
    """
    try:
        script = recipe.find_script(folder)
    except UsageError:
        model_dir = os.path.join(folder, given.get("model_dir", ""))
        if find_model(model_dir, given.get("mlflow_model_folder")) is None:
            raise
        return {}
    return {"entry_script": script} if script else {"config_file": "config.json"}


def _lines(parsed: ray_arguments.Arguments, wishes: Wishes) -> Iterator[str]:
    yield "# Made by `azmlinfsrv ray-config`; yours to change. Deploy it: serve deploy FILE"
    yield "proxy_location: EveryNode"
    yield "http_options:"
    yield f"  host: {_scalar(wishes.host)}"
    yield f"  port: {_port(wishes.port)}"
    yield "applications:"
    yield f"  - name: {_scalar(wishes.name)}"
    yield f"    route_prefix: {_scalar(wishes.route_prefix)}"
    yield "    import_path: azmlinfsrv.ray:build"
    yield "    runtime_env:"
    if wishes.working_dir:
        yield f"      working_dir: {_scalar(wishes.working_dir)}"
    yield "      env_vars:"
    yield "        # Settings, and what the script reads, by the names of variables. A change rolls the replicas over."
    yield '        SERVICE_VERSION: "1.0"'
    yield "    args:"
    for name, value in parsed.settings.items():
        if value is not None:
            yield f"      {name}: {_scalar(value)}"
    yield "    deployments:"
    yield f"      - name: {DEPLOYMENT}"
    options = {**ray_arguments.DEFAULTS, **parsed.options}
    if not options.keys() & {"num_replicas", "autoscaling_config"}:
        options = {"num_replicas": 1, **options}
    for name, value in options.items():
        yield from _option(name, value)


def _option(name: str, value: Any) -> Iterator[str]:
    """Yield an option of the deployment; JSON is YAML, too."""
    if not isinstance(value, dict) or not value:
        yield f"        {name}: {json.dumps(value)}"
        return
    yield f"        {name}:"
    for key, each in value.items():
        yield f"          {key}: {json.dumps(each)}"


def _scalar(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _port(text: str) -> int:
    """Return the port.

    Raises:
        UsageError: it is none.
    """
    if not (text.isdecimal() and 0 < int(text) < 65536):
        raise UsageError(f"{text!r} is not a port")
    return int(text)
