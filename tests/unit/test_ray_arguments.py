"""Arguments of a Ray Serve application: which are the server's, which are Ray's, and what is said of the others."""

from __future__ import annotations

from typing import Any

import pytest

from azmlinfsrv.errors import ConfigurationError
from azmlinfsrv.ray_arguments import DEFAULTS, NOT_UNDER_RAY, RAY_OPTIONS, ignored_settings, parse
from azmlinfsrv.settings import rows

_VALUES: dict[type, str | float] = {str: "INFO", int: 7, float: 1.5}


def test_every_setting_has_one_meaning() -> None:
    """No setting of the server has the name of an option of Ray's, and those without effect are settings."""
    assert not rows().keys() & RAY_OPTIONS
    assert NOT_UNDER_RAY.keys() <= rows().keys()
    assert DEFAULTS.keys() <= RAY_OPTIONS


@pytest.mark.parametrize("name", sorted(rows().keys() - NOT_UNDER_RAY.keys()))
def test_every_other_setting_can_be_given(name: str) -> None:
    """Each setting can be given by its name, as a text or as what it is."""
    row = rows()[name]
    value = row.default if row.default is not None else _VALUES[row.type]
    assert parse({name: value}).settings == {name: value}
    assert parse({name: str(value)}).settings == {name: value}


def test_names_of_the_command_line() -> None:
    """A setting can be called as its option on the command line is."""
    assert parse({"access_control_allow_origins": "*"}).settings == {"cors_origins": "*"}


@pytest.mark.parametrize(
    ("given", "options"),
    [
        ({"num_replicas": "3"}, {"num_replicas": 3}),
        ({"num_replicas": "auto"}, {"num_replicas": "auto"}),
        ({"num_gpus": "0.5", "num_cpus": 2}, {"ray_actor_options": {"num_gpus": 0.5, "num_cpus": 2}}),
        (
            {"max_replicas": "9", "autoscaling_config": '{"min_replicas": 2, "max_replicas": 3}', "min_replicas": "1"},
            {"autoscaling_config": {"min_replicas": 1, "max_replicas": 9}},
        ),
        ({"max_surge_percent": "0"}, {"max_surge_percent": 0}),
    ],
)
def test_options_of_ray(given: dict[str, Any], options: dict[str, Any]) -> None:
    """Ray's options are passed on, texts as JSON; what lies within another one is put there, and wins."""
    assert parse(given) == ({}, options)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"entry_scirpt": "score.py"}, "'entry_scirpt' is not an argument .*; did you mean entry_script?"),
        ({"zzz": 1}, "it takes the server's settings and Ray Serve's options"),
        ({"port": 5001}, "port has no effect under Ray.*http_options"),
        ({"graceful_timeout": 5}, "graceful_timeout has no effect under Ray.*graceful_shutdown_timeout_s"),
        ({"scoring_timeout_ms": "soon"}, "'soon' from argument scoring_timeout_ms is not valid: expected an integer"),
        ({"api_key": 5}, "^the value from argument api_key is not valid"),
        ({"autoscaling_config": "yes"}, "expected a mapping"),
    ],
)
def test_what_cannot_be_used(given: dict[str, Any], message: str) -> None:
    """The error says which argument it is, and what to do; never a secret."""
    with pytest.raises(ConfigurationError, match=message):
        parse(given)


def test_ignored_settings() -> None:
    """Settings of other hosts may be in the environment: they are told."""
    assert ignored_settings(["entry_script", "nginx", "worker_count"]) == ["nginx", "worker_count"]
