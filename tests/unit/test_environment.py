"""What the script finds in its environment, and what the server prints before it starts."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from azmlinfsrv import __version__
from azmlinfsrv.configuration import load_configuration
from azmlinfsrv.environment import app_insights_target, banner, notices, script_environment
from azmlinfsrv.settings import Settings

KEY = "01234567-89ab-cdef-0123-456789abcdef"
CONNECTION_STRING = f"InstrumentationKey={KEY};IngestionEndpoint=https://example.org/"


def variables(tmp_path: Path, arguments: Mapping[str, Any] | None = None, /, **environ: str) -> dict[str, str]:
    """Return the whole environment of the script, given a command line and the environment of the server."""
    configuration = load_configuration(arguments or {}, environ, str(tmp_path))
    return {**environ, **script_environment(configuration, environ)}


def lines(tmp_path: Path, arguments: Mapping[str, Any] | None = None, /, **environ: str) -> list[str]:
    """Return the lines of the banner."""
    configuration = load_configuration(arguments or {}, environ, str(tmp_path))
    environment = {**environ, **script_environment(configuration, environ)}
    return list(banner(configuration.settings, environment))


def test_variables_that_are_always_set(tmp_path: Path) -> None:
    """A script finds the variables that the released server sets, with their defaults."""
    assert variables(tmp_path) == {
        "AML_APP_ROOT": str(tmp_path),
        "AML_APP_INSIGHTS_ENABLED": "false",
        "HEALTH_PORT": "5001",
        "HTTP_X_MS_SERVER_VERSION": f"azmlinfsrv/{__version__}",
        "SERVER_PORT": "5001",
        "TRANSPORT_PROTOCOL": "grpc",
        "WORKER_COUNT": "1",
    }


def test_variables_of_the_command_line(tmp_path: Path) -> None:
    """What the command line sets, the script finds under the released server's names."""
    (tmp_path / "c.json").write_text("{}")
    found = variables(
        tmp_path,
        {
            "entry_script": "score.py",
            "model_dir": "models",
            "config_file": "c.json",
            "cors_origins": "*",
            "app_insights_key": KEY,
            "port": 8080,
            "worker_count": 3,
        },
    )
    assert found["AZUREML_ENTRY_SCRIPT"] == str(tmp_path / "score.py")
    assert found["AZUREML_MODEL_DIR"] == "models"
    assert found["AZUREML_CONFIG_FILE"] == str(tmp_path / "c.json")
    assert found["AML_CORS_ORIGINS"] == "*"
    assert found["AML_APP_INSIGHTS_KEY"] == KEY
    assert found["AML_APP_INSIGHTS_ENABLED"] == "true"
    assert (found["SERVER_PORT"], found["HEALTH_PORT"], found["WORKER_COUNT"]) == ("8080", "8080", "3")


def test_variables_of_the_file(tmp_path: Path) -> None:
    """What config.json sets, the script finds as well."""
    (tmp_path / "config.json").write_text('{"AZUREML_ENTRY_SCRIPT": "/s.py", "AZUREML_MODEL_DIR": "/m"}')
    found = variables(tmp_path)
    assert (found["AZUREML_ENTRY_SCRIPT"], found["AZUREML_MODEL_DIR"]) == ("/s.py", "/m")


def test_own_variables_are_left_alone(tmp_path: Path) -> None:
    """A variable that the user has set keeps the user's value."""
    given = {"AZUREML_ENTRY_SCRIPT": "sub/score.py", "AZUREML_MODEL_DIR": "m", "AML_APP_ROOT": "/r", "OTHER": "o"}
    found = variables(tmp_path, **given)
    assert {name: found[name] for name in given} == given


def test_the_alias_sets_the_usual_variable(tmp_path: Path) -> None:
    """A script that is named by AML_ENTRY_SCRIPT finds its path in AZUREML_ENTRY_SCRIPT, as every script does."""
    assert variables(tmp_path, AML_ENTRY_SCRIPT="score.py")["AZUREML_ENTRY_SCRIPT"] == "score.py"


def test_ports_are_overwritten(tmp_path: Path) -> None:
    """SERVER_PORT of a container is overwritten by the port that is served."""
    assert variables(tmp_path, SERVER_PORT="7777")["SERVER_PORT"] == "5001"
    assert variables(tmp_path, {"port": 8080}, SERVER_PORT="7777")["SERVER_PORT"] == "8080"


@pytest.mark.parametrize(
    ("arguments", "separate", "expected"),
    [
        ({}, "true", "5000"),
        ({"health_port": 6000}, "true", "6000"),
        ({"port": 8080}, "true", "5000"),
        ({"port": 8080, "health_port": 6000}, "false", "8080"),
    ],
)
def test_health_port(tmp_path: Path, arguments: dict[str, Any], separate: str, expected: str) -> None:
    """HEALTH_PORT is the second listener's port where there is one, else the only one's."""
    assert variables(tmp_path, arguments, SEPERATE_HEALTH_ENDPOINT=separate)["HEALTH_PORT"] == expected


def test_the_version_can_be_left_out(tmp_path: Path) -> None:
    """SERVER_VERSION_LOG_RESPONSE_ENABLED=false keeps the version out of the environment, and so of answers."""
    found = variables(tmp_path, SERVER_VERSION_LOG_RESPONSE_ENABLED="false")
    assert "HTTP_X_MS_SERVER_VERSION" not in found


@pytest.mark.parametrize("before", [{}, {"TRANSPORT_PROTOCOL": "rest"}, {"TRANSPORT_PROTOCOL": "other"}])
@pytest.mark.parametrize("transport", ["grpc", "rest"])
def test_the_transport_is_overwritten(tmp_path: Path, transport: str, before: dict[str, str]) -> None:
    """TRANSPORT_PROTOCOL is what the command line says, whatever it was, as in release 1.5.1."""
    configuration = load_configuration({}, before, str(tmp_path))
    assert script_environment(configuration, before, transport)["TRANSPORT_PROTOCOL"] == transport


@pytest.mark.parametrize(
    ("enabled", "key", "used"),
    [
        ("true", KEY, True),
        ("true", KEY.upper(), True),
        ("true", CONNECTION_STRING, True),
        ("true", "nonsense", False),
        ("true", f"{KEY}0", False),
        ("true", f"{KEY}\n", False),
        ("true", None, False),
        ("false", KEY, False),
    ],
)
def test_telemetry_needs_a_key(tmp_path: Path, enabled: str, key: str | None, used: bool) -> None:
    """AML_APP_INSIGHTS_ENABLED tells the script whether telemetry is on: wanted, and with a key that can be one."""
    environ = {"AML_APP_INSIGHTS_ENABLED": enabled, **({"AML_APP_INSIGHTS_KEY": key} if key else {})}
    assert variables(tmp_path, **environ)["AML_APP_INSIGHTS_ENABLED"] == str(used).lower()
    settings = Settings(app_insights_enabled=enabled == "true", app_insights_key=key)
    assert (app_insights_target(settings, {}) is not None) is used


def test_where_telemetry_goes() -> None:
    """AML_APP_INSIGHTS_ENDPOINT wins, then the connection string's, then that of the environment, then Azure's."""

    def endpoint(environ: Mapping[str, str] | None = None, **settings: Any) -> str:
        target = app_insights_target(Settings(app_insights_enabled=True, **settings), environ or {})
        assert target is not None
        return target.endpoint

    beside = {"APPLICATIONINSIGHTS_CONNECTION_STRING": CONNECTION_STRING}
    own = "http://own.test/v2/track"
    assert endpoint(beside, app_insights_key=CONNECTION_STRING, app_insights_endpoint=own) == "http://own.test"
    assert endpoint(app_insights_key=CONNECTION_STRING) == "https://example.org"
    assert endpoint(beside, app_insights_key=KEY) == "https://example.org"
    assert endpoint(app_insights_key=KEY) == "https://dc.services.visualstudio.com"


def test_notices() -> None:
    """What a user should know first: a missing model directory, and a key that cannot be one."""
    missing = [
        "The environment variable 'AZUREML_MODEL_DIR' has not been set.",
        "Use the --model_dir command line argument to set it.",
    ]
    there = {"AZUREML_MODEL_DIR": "m"}
    bad = Settings(app_insights_enabled=True, app_insights_key="nonsense")
    good = Settings(app_insights_enabled=True, app_insights_key=KEY)

    assert list(notices(Settings(), {})) == missing
    assert list(notices(Settings(), there)) == []
    assert list(notices(bad, there)) == [
        "Invalid Application Insights instrumentation key provided.",
        "Application Insights has been disabled.",
    ]
    assert list(notices(good, there)) == ["Valid Application Insights instrumentation key provided."]
    assert list(notices(Settings(app_insights_key="nonsense"), there)) == []


def test_the_banner_of_defaults(tmp_path: Path) -> None:
    """The banner has the released server's lines, each setting on one."""
    assert lines(tmp_path) == [
        "",
        f"Azure ML Inferencing HTTP server v{__version__}",
        "",
        "",
        "Server Settings",
        "---------------",
        "Entry Script Name: None",
        "Model Directory: None",
        "Config File: None",
        "Worker Count: 1",
        "Worker Timeout (seconds): None",
        "Server Port: 5001",
        "Health Port: 5001",
        "Application Insights Enabled: false",
        "Application Insights Key: None",
        f"Inferencing HTTP server version: azmlinfsrv/{__version__}",
        "CORS for the specified origins: None",
        "Create dedicated endpoint for health: None",
        "",
        "",
        "Server Routes",
        "---------------",
        "Liveness Probe: GET   127.0.0.1:5001/",
        "Score:          POST  127.0.0.1:5001/score",
        "",
    ]


def test_the_banner_of_a_server_that_is_set_up(tmp_path: Path) -> None:
    """The banner shows what is set, and never the key."""
    shown = lines(
        tmp_path,
        {"entry_script": "score.py", "model_dir": "m", "cors_origins": "a, b", "app_insights_key": KEY, "port": 80},
        WORKER_TIMEOUT="5",
        SEPERATE_HEALTH_ENDPOINT="true",
    )
    assert f"Entry Script Name: {tmp_path / 'score.py'}" in shown
    assert "Model Directory: m" in shown
    assert "Worker Timeout (seconds): 5" in shown
    assert "Application Insights Enabled: true" in shown
    assert "Application Insights Key: AppInsights key provided" in shown
    assert "CORS for the specified origins: Enabling CORS for a, b" in shown
    assert "Liveness Probe: GET   127.0.0.1:5000/" in shown
    assert "Score:          POST  127.0.0.1:80/score" in shown
    assert KEY not in "\n".join(shown)


def test_the_banner_shows_own_settings_that_differ(tmp_path: Path) -> None:
    """A setting that the released server does not have appears once it is not at its default."""
    shown = lines(tmp_path, AZMLINFSRV_HOSTING="single", AZMLINFSRV_SYSLOG_ADDRESS="/dev/log")
    assert [line for line in shown if re.match("hosting|syslog", line)] == [
        "hosting: single",
        "syslog_address: /dev/log",
    ]


def test_the_banner_names_a_script_that_an_alias_names(tmp_path: Path) -> None:
    """A script that is named by AML_ENTRY_SCRIPT is shown."""
    assert "Entry Script Name: score.py" in lines(tmp_path, AML_ENTRY_SCRIPT="score.py")


def test_the_banner_never_shows_a_connection_string(tmp_path: Path) -> None:
    """A connection string is a secret like a key, whichever variable holds it."""
    shown = lines(tmp_path, APPLICATIONINSIGHTS_CONNECTION_STRING=CONNECTION_STRING, AML_APP_INSIGHTS_ENABLED="true")
    assert "Application Insights Key: AppInsights key provided" in shown
    assert KEY not in "\n".join(shown)
