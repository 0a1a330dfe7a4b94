"""What the script finds in its environment, and the lines that the server prints before it starts.

Source: release 1.5.1; `contract.md`, "environment of the script".
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from azmlinfsrv._version import __version__
from azmlinfsrv.configuration import Configuration
from azmlinfsrv.connection_string import Target, parse_target
from azmlinfsrv.settings import Settings, rows

SERVER_VERSION = f"azmlinfsrv/{__version__}"
VERSION_VARIABLE = "HTTP_X_MS_SERVER_VERSION"

_CONNECTION_STRING = "APPLICATIONINSIGHTS_CONNECTION_STRING"

_BANNER = (
    ("Entry Script Name", "AZUREML_ENTRY_SCRIPT"),
    ("Model Directory", "AZUREML_MODEL_DIR"),
    ("Config File", "AZUREML_CONFIG_FILE"),
    ("Worker Count", "WORKER_COUNT"),
    ("Worker Timeout (seconds)", "WORKER_TIMEOUT"),
    ("Server Port", "SERVER_PORT"),
    ("Health Port", "HEALTH_PORT"),
    ("Application Insights Enabled", "AML_APP_INSIGHTS_ENABLED"),
    ("Application Insights Key", "AML_APP_INSIGHTS_KEY"),
    ("Inferencing HTTP server version", VERSION_VARIABLE),
    ("CORS for the specified origins", "AML_CORS_ORIGINS"),
    ("Create dedicated endpoint for health", "SEPERATE_HEALTH_ENDPOINT"),
)


def script_environment(
    configuration: Configuration, environ: Mapping[str, str], transport: str = "grpc"
) -> dict[str, str]:
    """Return the variables that are set before the script is loaded.

    Args:
        configuration: the settings and where they came from.
        environ: the environment so far.
        transport: value of TRANSPORT_PROTOCOL.
    """
    settings = configuration.settings
    variables = {
        "TRANSPORT_PROTOCOL": transport,
        "WORKER_COUNT": str(settings.worker_count),
        "SERVER_PORT": str(settings.port),
        "HEALTH_PORT": str(settings.health_port if settings.separate_health_endpoint else settings.port),
        "AML_APP_INSIGHTS_ENABLED": "true" if app_insights_target(settings, environ) else "false",
    }
    if "AML_APP_ROOT" not in environ:
        variables["AML_APP_ROOT"] = settings.app_root
    if settings.send_server_version:
        variables[VERSION_VARIABLE] = SERVER_VERSION
    for name in ("entry_script", "model_dir", "config_file", "cors_origins", "app_insights_key"):
        value, variable = getattr(settings, name), rows()[name].spec.variables[0]
        if value and environ.get(variable) != value:
            variables[variable] = value
    return variables


def app_insights_target(settings: Settings, environ: Mapping[str, str]) -> Target | None:
    """Return where telemetry goes, or None where it is not wanted or has no key that can be one.

    Args:
        settings: the settings.
        environ: the environment; a connection string in it has the endpoint of a bare key, as in release 1.5.1.
    """
    if not (settings.app_insights_enabled and settings.app_insights_key):
        return None
    row = rows()["app_insights_endpoint"]
    chosen = settings.app_insights_endpoint if settings.app_insights_endpoint != row.default else ""
    return parse_target(settings.app_insights_key, chosen, environ.get(_CONNECTION_STRING, ""))


def notices(settings: Settings, environ: Mapping[str, str]) -> Iterator[str]:
    """Yield what a user should know before the banner.

    Args:
        settings: the settings.
        environ: the environment of the script.
    """
    if "AZUREML_MODEL_DIR" not in environ:
        yield "The environment variable 'AZUREML_MODEL_DIR' has not been set."
        yield "Use the --model_dir command line argument to set it."
    if settings.app_insights_enabled and settings.app_insights_key:
        if app_insights_target(settings, environ):
            yield "Valid Application Insights instrumentation key provided."
        else:
            yield "Invalid Application Insights instrumentation key provided."
            yield "Application Insights has been disabled."


def banner(settings: Settings, environ: Mapping[str, str]) -> Iterator[str]:
    """Yield the lines that show version, settings and routes.

    Args:
        settings: the settings.
        environ: the environment of the script.
    """
    yield from ("", f"Azure ML Inferencing HTTP server v{__version__}", "", "")
    yield from ("Server Settings", "---------------")
    for label, variable in _BANNER:
        yield f"{label}: {_shown(variable, environ.get(variable))}"
    for name, row in rows().items():
        value = getattr(settings, name)
        if row.spec.variables and row.spec.variables[0].startswith("AZMLINFSRV_") and value != row.default:
            yield f"{name}: {'provided' if row.spec.secret else value}"
    yield from ("", "", "Server Routes", "---------------")
    yield f"Liveness Probe: GET   127.0.0.1:{environ['HEALTH_PORT']}/"
    yield f"Score:          POST  127.0.0.1:{environ['SERVER_PORT']}/score"
    yield ""


def _shown(variable: str, value: str | None) -> str:
    if variable == "AML_APP_INSIGHTS_KEY" and value is not None:
        return "AppInsights key provided"
    if variable == "AML_CORS_ORIGINS" and value is not None:
        return f"Enabling CORS for {value}"
    return str(value)
