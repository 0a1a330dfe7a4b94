"""The table of settings: each field of `Settings` is a row.

Command line, environment, config.json, banner and the reference page all derive from it.
Sources: `inference-server.md` ("Server Configuration"), `contract.md`, release 1.5.1.
"""

from __future__ import annotations

import dataclasses
import functools
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from azmlinfsrv.access_settings import ACCESS, AccessSettings
from azmlinfsrv.admission_settings import AdmissionSettings
from azmlinfsrv.batch_settings import BatchSettings
from azmlinfsrv.health_settings import HealthSettings
from azmlinfsrv.inference_settings import InferenceSettings
from azmlinfsrv.model_data_settings import ModelDataSettings
from azmlinfsrv.recycling_settings import RecyclingSettings
from azmlinfsrv.setting import Row, row

DEFAULT_APP_ROOT = "/var/azureml-app"
_SCRIPT, _NETWORK, _WORKERS = "Script and model", "Network", "Workers"
_LIMITS, _SERVICE, _LOGS, _TELEMETRY = "Limits", "Service", "Logs", "Telemetry"
_GROUPS = (_SCRIPT, _NETWORK, ACCESS, _WORKERS, _LIMITS, _SERVICE, _LOGS, _TELEMETRY)


@dataclass(frozen=True)
class Settings(
    AccessSettings,
    AdmissionSettings,
    BatchSettings,
    ModelDataSettings,
    HealthSettings,
    InferenceSettings,
    RecyclingSettings,
):
    """The settings of one server; never changed after the start."""

    entry_script: str | None = row(
        None,
        _SCRIPT,
        "Path of the entry script; without one, `main.py` on the path is served. "
        "A relative path on the command line is relative to the working directory, elsewhere to AML_APP_ROOT.",
        "AZUREML_ENTRY_SCRIPT",
        "AML_ENTRY_SCRIPT",
        flag="--entry_script",
        in_file=True,
    )
    model_dir: str | None = row(
        None,
        _SCRIPT,
        "Directory of the model, which the script finds in AZUREML_MODEL_DIR.",
        "AZUREML_MODEL_DIR",
        flag="--model_dir",
        in_file=True,
    )
    app_root: str = row(
        DEFAULT_APP_ROOT,
        _SCRIPT,
        "Root directory of the app, added to the import path. "
        "The command line takes the working directory where it is not set.",
        "AML_APP_ROOT",
        in_file=True,
    )
    source_directory: str | None = row(
        None,
        _SCRIPT,
        "Directory of the script's own modules, relative to AML_APP_ROOT, added to the import path.",
        "AZUREML_SOURCE_DIRECTORY",
        "AML_SOURCE_DIRECTORY",
        in_file=True,
    )
    server_root: str | None = row(None, _SCRIPT, "One more directory for the import path.", "AML_SERVER_ROOT")
    config_file: str | None = row(
        None,
        _SCRIPT,
        "Path of the JSON configuration file; without one, `config.json` is looked for in AML_APP_ROOT, "
        "then beside the entry script.",
        "AZUREML_CONFIG_FILE",
        flag="--config_file",
    )
    debug_port: int | None = row(
        None,
        _SCRIPT,
        "Port of a debugger that waits for a connection; debugpy connects to it before the script is loaded.",
        "AZUREML_DEBUG_PORT",
        minimum=1,
        maximum=65535,
        in_file=True,
    )
    flask_one_compatibility: bool = row(
        True,
        _SCRIPT,
        "`request.json` is None where the content type is not JSON, and `request.headers.has_key()` exists.",
        "AML_FLASK_ONE_COMPATIBILITY",
        in_file=True,
    )
    host: str = row(
        "0.0.0.0",  # noqa: S104 - a container serves its network; release 1.5.1 does the same
        _NETWORK,
        "Address to listen on.",
        "AZMLINFSRV_HOST",
        flag="--host",
        in_file=True,
    )
    port: int = row(
        5001,
        _NETWORK,
        "Port to serve on. SERVER_PORT tells it to the script, and is not read.",
        flag="--port",
        minimum=1,
        maximum=65535,
    )
    health_port: int = row(
        5000,
        _NETWORK,
        "Port of the health process, where SEPERATE_HEALTH_ENDPOINT is true. "
        "HEALTH_PORT tells it to the script, and is not read.",
        flag="--health_port",
        minimum=1,
        maximum=65535,
    )
    separate_health_endpoint: bool = row(
        False, _NETWORK, "Have a process of its own answer probes on a second port.", "SEPERATE_HEALTH_ENDPOINT"
    )
    nginx: bool = row(
        False,
        _NETWORK,
        "Have nginx listen on the ports, and the server behind it on AZMLINFSRV_SERVER_ADDRESS.",
        "AZMLINFSRV_NGINX",
        flag="--nginx",
        in_file=True,
    )
    server_address: str = row(
        "127.0.0.1:31311",
        _NETWORK,
        "Where the server listens behind nginx: a loopback address and port, or `unix:` and an absolute path.",
        "AZMLINFSRV_SERVER_ADDRESS",
        flag="--server_address",
        in_file=True,
    )
    nginx_program: str = row(
        "nginx", _NETWORK, "Name or path of the program nginx.", "AZMLINFSRV_NGINX_PROGRAM", in_file=True
    )
    cors_origins: str | None = row(
        None,
        _NETWORK,
        "Origins or domains that browsers may call from, separated by commas; `*` is any.",
        "AML_CORS_ORIGINS",
        flag="--access_control_allow_origins",
        in_file=True,
    )
    worker_count: int = row(
        1, _WORKERS, "Number of worker processes.", "WORKER_COUNT", flag="--worker_count", minimum=1, maximum=1024
    )
    worker_threads: int = row(
        1,
        _WORKERS,
        "Number of calls of `run()` at a time in a worker; 1 calls it in the main thread, "
        "more start that many scoring threads.",
        "WORKER_THREADS",
        flag="--worker_threads",
        minimum=1,
        maximum=1024,
    )
    async_limit: int = row(
        100,
        _WORKERS,
        "Number of calls of an `async def run()` at a time in a worker.",
        "AZMLINFSRV_ASYNC_LIMIT",
        flag="--async_limit",
        minimum=1,
        in_file=True,
    )
    worker_timeout_s: int = row(
        300,
        _WORKERS,
        "Time without a sign of life after which a worker is replaced; 0 waits for ever.",
        "WORKER_TIMEOUT",
        unit="seconds",
        minimum=0,
    )
    worker_preload: bool = row(
        False,
        _WORKERS,
        "Load the script and call `init()` once, before the workers are forked, and share the memory.",
        "WORKER_PRELOAD",
    )
    graceful_timeout_s: int = row(
        30,
        _WORKERS,
        "Time that running and waiting requests get at a stop.",
        "AZMLINFSRV_GRACEFUL_TIMEOUT",
        flag="--graceful_timeout",
        unit="seconds",
        minimum=0,
        in_file=True,
    )
    hosting: str = row(
        "auto",
        _WORKERS,
        "`gunicorn` runs workers under gunicorn; `single` serves from one process on asyncio; "
        "`auto` takes gunicorn where it can be had.",
        "AZMLINFSRV_HOSTING",
        flag="--hosting",
        choices=("auto", "gunicorn", "single"),
        in_file=True,
    )
    scoring_timeout_ms: int = row(
        3_600_000,
        _LIMITS,
        "Time that a call of `run()` may take; 0 is any.",
        "SCORING_TIMEOUT_MS",
        unit="milliseconds",
        minimum=0,
        in_file=True,
    )
    max_body_bytes: int = row(
        100 * 1024 * 1024,
        _LIMITS,
        "Largest body of a request; a larger one gets 413.",
        "AZMLINFSRV_MAX_BODY_BYTES",
        flag="--max_body_bytes",
        unit="bytes",
        minimum=0,
        in_file=True,
    )
    max_header_bytes: int = row(
        32 * 1024,
        _LIMITS,
        "Largest request line and header block; a larger one gets 431.",
        "AZMLINFSRV_MAX_HEADER_BYTES",
        unit="bytes",
        minimum=1024,
        in_file=True,
    )
    header_timeout_ms: int = row(
        30_000,
        _LIMITS,
        "Time from the first byte of a request to the end of its header block; later gets 408.",
        "AZMLINFSRV_HEADER_TIMEOUT_MS",
        unit="milliseconds",
        minimum=1,
        in_file=True,
    )
    body_timeout_ms: int = row(
        60_000,
        _LIMITS,
        "Time between two pieces of a body; later gets 408.",
        "AZMLINFSRV_BODY_TIMEOUT_MS",
        unit="milliseconds",
        minimum=1,
        in_file=True,
    )
    request_timeout_ms: int = row(
        1_000_000,
        _LIMITS,
        "Time from the first byte of a request to its last; later gets 408.",
        "AZMLINFSRV_REQUEST_TIMEOUT_MS",
        unit="milliseconds",
        minimum=1,
        in_file=True,
    )
    keep_alive_timeout_ms: int = row(
        75_000,
        _LIMITS,
        "Time that an idle connection is kept open.",
        "AZMLINFSRV_KEEP_ALIVE_TIMEOUT_MS",
        unit="milliseconds",
        minimum=1,
        in_file=True,
    )
    write_timeout_ms: int = row(
        60_000,
        _LIMITS,
        "Time that a client may take to accept more of an answer; then its connection is closed.",
        "AZMLINFSRV_WRITE_TIMEOUT_MS",
        unit="milliseconds",
        minimum=1,
        in_file=True,
    )
    service_name: str = row("ML service", _SERVICE, "Name of the service in its schema.", "SERVICE_NAME", in_file=True)
    service_version: str = row(
        "1.0", _SERVICE, "Version of the service in its schema.", "SERVICE_VERSION", in_file=True
    )
    service_path_prefix: str = row(
        "", _SERVICE, "Prefix of the paths in the schema.", "SERVICE_PATH_PREFIX", in_file=True
    )
    workspace_name: str = row("", _SERVICE, "Name of the workspace, for telemetry.", "WORKSPACE_NAME", in_file=True)
    hostname: str = row("Unknown", _SERVICE, "Name of the container, for telemetry.", "HOSTNAME", in_file=True)
    docs_enabled: bool = row(
        True,
        _SERVICE,
        "Serve the page at `/docs`, where a person reads the API and tries it.",
        "AZMLINFSRV_DOCS_ENABLED",
        in_file=True,
    )
    send_server_version: bool = row(
        True, _SERVICE, "Answer with the `x-ms-server-version` header.", "SERVER_VERSION_LOG_RESPONSE_ENABLED"
    )
    log_level: str | None = row(
        None,
        _LOGS,
        "Level of the server's loggers; INFO where it is not set.",
        "AZUREML_LOG_LEVEL",
        choices=("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"),
        aliases=(("WARN", "WARNING"), ("FATAL", "CRITICAL")),  # those of logging; release 1.5.1 takes any word
        in_file=True,
    )
    debug_model_info: bool = row(
        False, _LOGS, "Log the tree of the model directory, sizes and model ids at the start.", "AML_DBG_MODEL_INFO"
    )
    syslog_address: str | None = row(
        None,
        _LOGS,
        "Where printed output goes besides the console, as `<request id>,<line>`: "
        "a socket such as `/dev/log`, or `host:port` (UDP).",
        "AZMLINFSRV_SYSLOG_ADDRESS",
        flag="--syslog_address",
        in_file=True,
    )
    log_format: str = row(
        "text",
        _LOGS,
        "`text` writes the lines of the released server; `json` writes one JSON object a line, with request and trace "
        "ids.",
        "AZMLINFSRV_LOG_FORMAT",
        flag="--log_format",
        choices=("text", "json"),
        in_file=True,
    )
    metrics_enabled: bool = row(
        True,
        _TELEMETRY,
        "Count requests, and serve the metrics at `/metrics` for Prometheus.",
        "AZMLINFSRV_METRICS_ENABLED",
        in_file=True,
    )
    app_insights_enabled: bool = row(
        False, _TELEMETRY, "Send telemetry to Application Insights.", "AML_APP_INSIGHTS_ENABLED", in_file=True
    )
    app_insights_key: str | None = row(
        None,
        _TELEMETRY,
        "Instrumentation key or connection string of Application Insights.",
        "AML_APP_INSIGHTS_KEY",
        "APPLICATIONINSIGHTS_CONNECTION_STRING",
        flag="--appinsights_instrumentation_key",
        secret=True,
        in_file=True,
    )
    app_insights_endpoint: str = row(
        "https://dc.services.visualstudio.com/v2/track",
        _TELEMETRY,
        "Endpoint of Application Insights.",
        "AML_APP_INSIGHTS_ENDPOINT",
        in_file=True,
    )
    app_insights_log_response: bool = row(
        True,
        _TELEMETRY,
        "Send the answer's text to Application Insights.",
        "APP_INSIGHTS_LOG_RESPONSE_ENABLED",
        in_file=True,
    )
    otlp_enabled: bool = row(
        False,
        _TELEMETRY,
        "Send spans, logs and metrics to an OpenTelemetry collector; the standard OTEL_* variables say where and how.",
        "AZMLINFSRV_OTLP_ENABLED",
        flag="--otlp_enabled",
        in_file=True,
    )


@functools.cache
def rows() -> Mapping[str, Row]:
    """Return the table: name of the setting to its row, in the order of the reference page."""
    hints = typing.get_type_hints(Settings)
    table = {}
    for field in sorted(dataclasses.fields(Settings), key=_place):
        hint = hints[field.name]
        optional = isinstance(hint, types.UnionType)
        kind = typing.get_args(hint)[0] if optional else hint
        table[field.name] = Row(field.name, kind, optional, field.default, field.metadata["spec"])
    return table


def _place(field: dataclasses.Field[Any]) -> tuple[int, bool]:
    """Return where a setting stands: by its group, and there the settings of their own modules last."""
    return _GROUPS.index(field.metadata["spec"].group), field.name not in Settings.__annotations__
