"""From settings to a loaded script, and from there to a running worker: the order in which things happen."""

from __future__ import annotations

import contextlib
import faulthandler
import logging
import os
import sys
import time
import traceback
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from azmlinfsrv import capture, compat, decorated, logs
from azmlinfsrv.access_log import JsonRequestLog, RequestLog
from azmlinfsrv.app import Application, Extension, Submit, create_app
from azmlinfsrv.batching import BatchLimits
from azmlinfsrv.configuration import Configuration
from azmlinfsrv.cors import Cors
from azmlinfsrv.environment import VERSION_VARIABLE, app_insights_target
from azmlinfsrv.errors import ConfigurationError, ScriptError, ScriptFailedError, StopServing
from azmlinfsrv.failed_start import cause_of
from azmlinfsrv.logs import LineClock
from azmlinfsrv.messages import Request, Response
from azmlinfsrv.routes import read_docs_page
from azmlinfsrv.runner import Runner
from azmlinfsrv.schema import Swagger
from azmlinfsrv.script import Script, Style, call_init, import_paths, model_ids, model_info, model_tree, user_traceback
from azmlinfsrv.settings import Settings
from azmlinfsrv.strategy import load_served, make_runner
from azmlinfsrv.telemetry import collector_names
from azmlinfsrv.telemetry.board import Board
from azmlinfsrv.telemetry.life import TRACES_S, WorkerTelemetry
from azmlinfsrv.telemetry.metrics import WorkerMetrics
from azmlinfsrv.thread_limits import share_interpreter

if TYPE_CHECKING:
    from azmlinfsrv.asgi import ScoringApp
    from azmlinfsrv.inference import InferenceModel
    from azmlinfsrv.scoring_thread import ScoringThread
    from azmlinfsrv.telemetry.model_data import ModelData
    from azmlinfsrv.telemetry.observer import Observer

STARTUP_FAILURE = 3
logger = logging.getLogger("azmlinfsrv")
_trace_logger = logging.getLogger("azmlinfsrv.trace")


class Loaded(NamedTuple):
    """A script that is ready to be called.

    Attributes:
        script: the script, its ``init()`` called.
        swagger: its OpenAPI documents.
        drain: lets unfinished printed lines go.
        init_s: how long ``init()`` took.
        model_data: collects inputs and outputs; not started.
        observer: is told what happens; None where no telemetry is wanted.
        limits: what a batch may be; None where requests are scored one by one.
        inference: the script as a model of the Open Inference Protocol; None where that is not served.
    """

    script: Script
    swagger: Swagger
    drain: Callable[[], None]
    init_s: float
    model_data: ModelData | None = None
    observer: Observer | None = None
    limits: BatchLimits | None = None
    inference: InferenceModel | None = None


def load(configuration: Configuration, *, forks_later: bool = False) -> Loaded:
    """Set up what the script's code may rely on, import it and call ``init()``, all on the calling thread.

    Args:
        configuration: the settings and where they came from.
        forks_later: whether the script is served by processes that will be forked from this one.

    Raises:
        ConfigurationError: the syslog address, or what telemetry is to go to, cannot be used, or a package is missing.
        ScriptError: the logging.json, the debugger or the script cannot be used; the reason has been logged.
    """
    settings = configuration.settings
    faulthandler.enable()
    compat.install()
    _configure_logging(configuration)
    if settings.debug_port:
        _connect_debugger(settings.debug_port)
    observer = _observe(settings, forks_later=forks_later)
    captured = _capture(settings, observer)
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    sys.path += import_paths(settings)
    _log_start(configuration)
    model_data = _model_data(settings)
    collector_names.install(model_data.collect if model_data else None, os.environ)
    try:
        script, limits = load_served(settings)
    except ScriptError as error:
        _log_load_error(error)
        _log_model_tree(settings.model_dir)
        _tell_failure(error, observer)
        raise
    decorated.check_samples(script.run)
    began = time.perf_counter()
    try:
        call_init(script)
    except ScriptError as error:
        _log_init_error(error, settings.model_dir)
        captured.drain()
        _tell_failure(error, observer)
        raise
    finally:
        captured.drain()
    init_s = time.perf_counter() - began
    swagger = Swagger(settings, script.run, script.typed, script.describe)
    logger.info("Scoring timeout is set to %s", settings.scoring_timeout_ms)
    if observer is not None:
        observer.watch_logging()  # a basicConfig(force=True) of the script's has ended it
        observer.is_text = script.style is Style.JSON_TEXT
    return Loaded(script, swagger, captured.drain, init_s, model_data, observer, limits, _inference(script, settings))


def _inference(script: Script, settings: Settings) -> InferenceModel | None:
    if not settings.v2_enabled:
        return None
    from azmlinfsrv.inference import make_inference

    return make_inference(script, settings)


def load_or_exit(configuration: Configuration, tell: Callable[[str], object], *, forks_later: bool = False) -> Loaded:
    """Do the same, and end the process where the script cannot be served: gunicorn takes 3 for a failed start.

    Args:
        configuration: the settings and where they came from.
        tell: is told why the script cannot be served.
        forks_later: see `load`.

    Raises:
        SystemExit: with 3 after a failure, with 0 if the start was stopped.
    """
    share_interpreter()
    try:
        return load(configuration, forks_later=forks_later)
    except ConfigurationError as error:
        logs.log_configuration_error(error)
        tell(error.message)
    except ScriptError as error:  # has been logged
        tell(cause_of(error))
    except StopServing:
        raise SystemExit(0) from None
    raise SystemExit(STARTUP_FAILURE)


def _configure_logging(configuration: Configuration) -> None:
    settings = configuration.settings
    folder = os.path.dirname(os.path.realpath(settings.entry_script)) if settings.entry_script else None
    dress = None
    if settings.log_format == "json":
        from azmlinfsrv.telemetry import json_logs

        dress = json_logs.install
    try:
        logs.configure(settings.app_root, folder, settings.log_level, dress)
    except (OSError, ValueError, TypeError, AttributeError, ImportError) as error:
        reason = "".join(traceback.format_exception_only(type(error), error)).rstrip()
        logger.critical("Invalid config file!: %s", reason)
        logger.critical("The file is a logging.json, of %s or beside the entry script.", settings.app_root)
        raise ScriptError("logging.json cannot be used") from error
    if configuration.unknown_keys:
        logger.warning(
            "Found extra keys in the config file that are not supported by the server.\nExtra keys = %s",
            list(configuration.unknown_keys),
        )


def _connect_debugger(port: int) -> None:
    """Connect to the debugger that waits on the port.

    Raises:
        ScriptError: debugpy is not installed; the reason has been printed.
    """
    print("!! Starting the inference server in DEBUGGING mode because AZUREML_DEBUG_PORT is set.", flush=True)  # noqa: T201
    print("!! This environment variable should not be set in a production environment.", flush=True)  # noqa: T201
    try:
        import debugpy  # noqa: T100 - what the setting asks for
    except ModuleNotFoundError as error:
        print(  # noqa: T201
            "** Cannot connect to a debugger because debugpy is not installed. Run: pip install 'azmlinfsrv[debug]'"
        )
        raise ScriptError("debugpy is not installed") from error
    print(f"** Connecting to debugger at port {port}...", flush=True)  # noqa: T201
    try:
        debugpy.connect(port)
    except Exception as error:
        print(f"** Cannot connect to a debugger at port {port}: {error}")  # noqa: T201
        raise ScriptError("no debugger") from error
    debugpy.wait_for_client()  # noqa: T100 - what the setting asks for


def _observe(settings: Settings, *, forks_later: bool) -> Observer | None:
    """Return the observer, which tells of the script's logging from now on; None where no telemetry is wanted.

    Raises:
        ConfigurationError: a package of it is not installed.
    """
    target = app_insights_target(settings, os.environ)
    if target is None and not settings.otlp_enabled:
        return None
    from azmlinfsrv.telemetry.setup import make_observer

    models = model_ids(settings.model_dir) if settings.model_dir and os.path.isdir(settings.model_dir) else []
    observer = make_observer(settings, target, models, os.environ)
    observer.watch_logging()
    if forks_later:
        observer.share()
    else:
        observer.start()
    return observer


def _capture(settings: Settings, observer: Observer | None) -> capture.Capture:
    """Capture what is printed from now on."""
    sinks, stderr_line, carry = _sinks(settings), None, None
    if settings.log_format == "json":
        from azmlinfsrv.telemetry import current, json_logs

        logger.info("Initializing logger")
        stderr_line, carry = json_logs.stderr_lines(sys.stderr), current.carry
    else:
        with contextlib.suppress(OSError):  # nobody reads the log any more, or its disk is full
            sys.stdout.write("Initializing logger\n")  # a line of release 1.5.1; in one piece, since workers share it
    if observer is not None:
        sinks.append(observer.printed)
        carry = observer.carry
    return capture.install(sinks, carry, stderr_line)


def _tell_failure(error: ScriptError, observer: Observer | None) -> None:
    """Tell of a script that cannot be served, before the process ends."""
    if observer is not None:
        observer.exception(error.__cause__ or error, None)
        observer.close(TRACES_S)


def _sinks(settings: Settings) -> list[capture.Sink]:
    if not settings.syslog_address:
        return []
    from azmlinfsrv.syslog import SyslogSink

    try:
        return [SyslogSink(settings.syslog_address)]
    except OSError as error:
        message = f"syslog at {settings.syslog_address!r} cannot be reached: {error}"
        raise ConfigurationError(message) from error


def _model_data(settings: Settings) -> ModelData | None:
    if not (settings.model_data_folder or settings.model_data_blob_container):
        return None
    from azmlinfsrv.telemetry.model_data import make_model_data

    model_dir = settings.model_dir
    return make_model_data(settings, model_ids(model_dir) if model_dir and os.path.isdir(model_dir) else [])


def _log_start(configuration: Configuration) -> None:
    settings = configuration.settings
    logger.info("Starting up app insights client")
    model_dir = settings.model_dir or ""
    if not os.path.exists(model_dir):
        _trace_logger.warning("Model directory is not set or does not exist: %s", model_dir)
    elif settings.debug_model_info:
        for line in model_info(model_dir):
            logger.info("%s", line)
    if settings.cors_origins:
        origins = ", ".join(Cors(settings.cors_origins).origins)
        logger.info("Enabling CORS for the following origins: %s", origins)


def _log_load_error(error: ScriptError) -> None:
    cause = error.__cause__
    if not isinstance(error, ScriptFailedError) or cause is None:
        for line in error.message.split("\n"):
            logger.error("%s", line)
        return
    if isinstance(cause, FileNotFoundError):
        logger.error("No such file or directory.")
    logger.error("%s", user_traceback(cause))


def _log_init_error(error: ScriptError, model_dir: str | None) -> None:
    logger.error("User's init function failed")
    cause = error.__cause__
    logger.error("Encountered Exception %s", user_traceback(cause) if cause is not None else error.message)
    _log_model_tree(model_dir)


def _log_model_tree(model_dir: str | None) -> None:
    if model_dir and os.path.exists(model_dir):
        logger.info("Model Directory Contents:")
        for line in model_tree(model_dir):
            logger.info("%s", line)


def make_metrics(settings: Settings) -> WorkerMetrics | None:
    """Return what counts the requests of a server that is one process, or None where that is off."""
    if not settings.metrics_enabled:
        return None
    board = Board(1, 1)
    return WorkerMetrics(board, board.take())


def make_app(
    loaded: Loaded, settings: Settings, runner: Runner, log: RequestLog, metrics: WorkerMetrics | None
) -> Application:
    """Return the application that serves the script."""
    cors = Cors(settings.cors_origins) if settings.cors_origins else None
    docs = read_docs_page() if settings.docs_enabled else None
    submit = _recorded(runner.submit, loaded.model_data.record) if loaded.model_data else runner.submit
    version = os.environ.get(VERSION_VARIABLE, "")
    access, extensions = None, _extensions(loaded)
    if settings.wants_keys:
        from azmlinfsrv.access import make_access

        access = make_access(settings, [extension.needs_key for extension in extensions])
    app = create_app(loaded.swagger, submit, cors, version, log, docs, metrics, loaded.observer, access, extensions)
    app.abandon = runner.abandon
    if metrics is not None:
        runner.metrics = metrics
        runner.admission.count = metrics.refused
        metrics.serve(app.paths, runner.slots, loaded.init_s, runner.max_batch_size)
    return app


def _extensions(loaded: Loaded) -> list[Extension]:
    extensions: list[Extension] = []
    if loaded.script.style is Style.MODEL:
        from azmlinfsrv.mlflow_routes import mlflow_extension

        extensions.append(mlflow_extension())
    if loaded.inference is not None:
        from azmlinfsrv.inference_app import inference_extension

        extensions.append(inference_extension(loaded.inference))
    return extensions


def make_log(
    settings: Settings, clock: LineClock, call_later: Callable[[float, Callable[[], None]], Any] | None
) -> RequestLog:
    """Return what writes the lines of requests."""
    return (JsonRequestLog if settings.log_format == "json" else RequestLog)(clock, call_later)


def _recorded(submit: Submit, record: Callable[[Request, Response], None]) -> Submit:
    """Return a submit that has each request recorded once the script has answered it."""

    def submit_recorded(request: Request, done: Callable[[Request, Response], None]) -> None:
        def answered(request: Request, response: Response) -> None:
            if not request.dropped:
                record(request, response)  # before the answer: what was answered has been collected
            done(request, response)

        submit(request, answered)

    return submit_recorded


def make_asgi_app(loaded: Loaded, settings: Settings, thread: ScoringThread | None = None) -> ScoringApp:
    """Return the ASGI application that serves the script, in this thread or one of its own.

    Raises:
        ConfigurationError: an API key, or the file of them, cannot be used.
    """
    from azmlinfsrv.asgi import ScoringApp, call_later

    if settings.wants_keys:
        from azmlinfsrv.access import check_keys

        check_keys(settings)
    runner = make_runner(loaded.script, settings, loaded.drain, loaded.observer, loaded.limits, loaded.inference)
    metrics = make_metrics(settings)
    app = make_app(loaded, settings, runner, make_log(settings, LineClock(), call_later), metrics)
    telemetry = WorkerTelemetry(metrics, loaded.observer, loaded.model_data)
    return ScoringApp(app, runner, settings.max_body_bytes, telemetry, thread)
