"""The arguments of a Ray Serve application: settings of the server, and options of Ray's, each by its name."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from azmlinfsrv.configuration import coerce
from azmlinfsrv.errors import ConfigurationError
from azmlinfsrv.setting import Row
from azmlinfsrv.settings import rows

_PROXY = "Ray's proxy listens for all applications: use {} in http_options of the Serve config file"
_CHECKS = "Ray looks after its replicas: use health_check_period_s and health_check_timeout_s"
_PROXY_LIMIT = "Ray's proxy reads the requests: use request_timeout_s or keep_alive_timeout_s in its http_options"
_PROCESSES = "Ray starts the processes"

# Settings of a server that is its own host, each with what takes its place under Ray.
NOT_UNDER_RAY: Mapping[str, str] = {
    "host": _PROXY.format("host"),
    "port": _PROXY.format("port"),
    "nginx": _PROXY.format("host and port"),
    "server_address": _PROXY.format("host and port"),
    "nginx_program": _PROXY.format("host and port"),
    "tls_certificate": _PROXY.format("ssl_certfile"),
    "tls_key": _PROXY.format("ssl_keyfile"),
    "health_port": _CHECKS,
    "separate_health_endpoint": _CHECKS,
    "worker_timeout_s": _CHECKS,
    "failed_start_hold_ms": "`serve status` tells why a script could not be loaded",
    "worker_count": f"{_PROCESSES}: use num_replicas, or min_replicas and max_replicas",
    "worker_preload": f"{_PROCESSES}, and each replica loads the script",
    "hosting": _PROCESSES,
    "max_requests": f"{_PROCESSES}, and replaces none that is well",
    "max_requests_jitter": f"{_PROCESSES}, and replaces none that is well",
    "max_worker_memory_bytes": f"{_PROCESSES}: use memory, which it sets aside for a replica",
    "graceful_timeout_s": f"{_PROCESSES}: use graceful_shutdown_timeout_s",
    "thread_limits_enabled": "Ray sets OMP_NUM_THREADS to the num_cpus of a replica",
    "max_header_bytes": _PROXY_LIMIT,
    "header_timeout_ms": _PROXY_LIMIT,
    "body_timeout_ms": _PROXY_LIMIT,
    "request_timeout_ms": _PROXY_LIMIT,
    "keep_alive_timeout_ms": _PROXY_LIMIT,
    "half_close_timeout_ms": _PROXY_LIMIT,
}

# Ray Serve's options of a deployment, passed on as they are.
_DEPLOYMENT = (
    "autoscaling_config",
    "graceful_shutdown_timeout_s",
    "graceful_shutdown_wait_loop_s",
    "health_check_period_s",
    "health_check_timeout_s",
    "logging_config",
    "max_constructor_retry_count",
    "max_ongoing_requests",
    "max_queued_requests",
    "max_replicas_per_node",
    "max_surge_percent",
    "num_replicas",
    "placement_group_bundles",
    "placement_group_strategy",
    "ray_actor_options",
    "request_router_config",
    "rolling_update_percentage",
)
# Those that lie within one of these, which can be given by themselves.
_WITHIN = {
    "autoscaling_config": (
        "min_replicas",
        "max_replicas",
        "initial_replicas",
        "target_ongoing_requests",
        "upscale_delay_s",
        "downscale_delay_s",
    ),
    "ray_actor_options": ("num_cpus", "num_gpus", "memory", "resources", "accelerator_type"),
}
_PARENTS = {name: parent for parent, names in _WITHIN.items() for name in names}
RAY_OPTIONS = frozenset({*_DEPLOYMENT, *_PARENTS})

# Where nobody says otherwise. Serve lets five requests in at a time, and the server's own batches, limits and refusals
# would never see more; a replica that does not come back is to be noticed soon; a new replica is to be ready before an
# old one stops, or a script that cannot be loaded takes the place of one that serves; and the server logs its requests.
DEFAULTS: Mapping[str, Any] = {
    "max_ongoing_requests": 100,
    "health_check_period_s": 2,
    "max_surge_percent": 20,
    "logging_config": {"enable_access_log": False},
}


class Arguments(NamedTuple):
    """What an application was asked to be.

    Attributes:
        settings: settings of the server, by name.
        options: Ray Serve's options of the deployment, without the defaults.
    """

    settings: dict[str, Any]
    options: dict[str, Any]


def parse(given: Mapping[str, Any]) -> Arguments:
    """Tell settings from Ray's options, and check the settings; Ray checks its own.

    Args:
        given: values by the name of the setting, its option on the command line without the dashes, or Ray's name;
            values may be texts, those of Ray's are JSON then.

    Raises:
        ConfigurationError: a name is unknown or has no effect under Ray, or a value is not valid.
    """
    table, names = rows(), _names(rows().values())
    settings: dict[str, Any] = {}
    options: dict[str, Any] = {}
    for name, value in given.items():
        if name in RAY_OPTIONS:
            _set_option(options, name, _plain(value))
        elif name not in names:
            raise ConfigurationError(f"{name!r} is not an argument of azmlinfsrv.ray:build{_meant(name, names)}")
        elif names[name] in NOT_UNDER_RAY:
            raise ConfigurationError(f"{name} has no effect under Ray. {NOT_UNDER_RAY[names[name]]}.")
        else:
            settings[names[name]] = coerce(table[names[name]], value, f"argument {name}")
    return Arguments(settings, options)


def ignored_settings(sources: Iterable[str]) -> list[str]:
    """Return those settings that have no effect under Ray; the environment may hold them for other hosts."""
    return [name for name in sources if name in NOT_UNDER_RAY]


def _names(table: Iterable[Row]) -> dict[str, str]:
    """Return what a setting can be called: its name, and its option on the command line."""
    names: dict[str, str] = {}
    for row in table:
        names[row.name] = row.name
        if row.spec.flag:
            names[row.spec.flag.lstrip("-")] = row.name
    return names


def _meant(name: str, names: Iterable[str]) -> str:
    close = difflib.get_close_matches(name, [*names, *RAY_OPTIONS], 1)
    return f"; did you mean {close[0]}?" if close else ": it takes the server's settings and Ray Serve's options"


def _plain(value: Any) -> Any:
    """Return the value that a text stands for in JSON; a word such as `auto` is itself."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except ValueError:
        return value


def _set_option(options: dict[str, Any], name: str, value: Any) -> None:
    """Set an option of Ray's, in what it lies within.

    Raises:
        ConfigurationError: what it lies within is no mapping.
    """
    parent = _PARENTS.get(name)
    if parent is None:
        is_mapping = name not in _WITHIN or value is None or isinstance(value, Mapping)
        if not is_mapping:
            raise ConfigurationError(f"{value!r} from argument {name} is not valid: expected a mapping, as JSON")
        options[name] = {**value, **options.get(name, {})} if name in _WITHIN and value is not None else value
    else:
        options[parent] = {**(options.get(parent) or {}), name: value}
