"""A replica of Ray Serve: one worker's script, scoring thread and application, behind ASGI."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Mapping
from typing import Any

from azmlinfsrv import boot, logs
from azmlinfsrv.access_settings import hide_keys
from azmlinfsrv.asgi import Message, Receive, Scope, ScoringApp, Send
from azmlinfsrv.configuration import Configuration, load_configuration
from azmlinfsrv.environment import script_environment
from azmlinfsrv.errors import ConfigurationError, ScriptError, WorkerStuckError
from azmlinfsrv.failed_start import cause_of
from azmlinfsrv.identity import REQUEST_ID
from azmlinfsrv.messages import Response
from azmlinfsrv.outputs import error_response
from azmlinfsrv.ray_arguments import ignored_settings
from azmlinfsrv.scoring_thread import ScoringThread
from azmlinfsrv.settings import Settings
from azmlinfsrv.stuck_watch import STUCK_EXIT, StuckWatch
from azmlinfsrv.worker_state import OVERLOADED, STUCK

logger = logging.getLogger("azmlinfsrv")

_REQUEST_ID = REQUEST_ID.encode()
# Ray lets a replica finish its requests before it stops it: only a call that does not come back takes longer.
_STOP_S = 5.0
_STOP_TELEMETRY_S = 1.0
# Between the failed check and the end of the process: Ray has its reason by then, and clients their answers.
_STUCK_HOLD_S = 0.25


class ReplicaStartError(Exception):
    """The script cannot be served; the text is what Serve's status shows: the end of the user's traceback."""


class ReplicaStuckError(Exception):
    """A call of ``run()`` has outlived its grace, or scoring has ended: Ray is to replace the replica."""


def start(arguments: Mapping[str, Any], folder: str) -> Replica:
    """Load the script and call ``init()``; called by Ray in the process of a replica, on its event loop.

    Args:
        arguments: settings by name, of the right types.
        folder: where paths may be relative to, if not to the working directory.

    Raises:
        ReplicaStartError: the settings or the script cannot be used.
    """
    thread = ScoringThread()
    return thread.call(lambda: _load(arguments, folder, thread)).result()


def _load(arguments: Mapping[str, Any], folder: str, thread: ScoringThread) -> Replica:
    _enter_folder(arguments, folder)
    logging.basicConfig()  # as on the command line: what scripts log is formatted
    logs.load(logs.PACKAGE)
    try:
        configuration = _configure(arguments)
        loaded = boot.load(configuration)
        scoring = boot.make_asgi_app(loaded, configuration.settings, thread)
    except ConfigurationError as error:
        logs.log_configuration_error(error)
        raise ReplicaStartError(error.message) from None
    except ScriptError as error:  # has been logged
        raise ReplicaStartError(f"the script cannot be served:\n{cause_of(error)}") from None
    logger.info("Replica with pid %d ready for serving traffic", os.getpid())
    return Replica(scoring, loaded, configuration.settings)


def _enter_folder(arguments: Mapping[str, Any], folder: str) -> None:
    """Go where the script's paths begin: to `app_root`, where Ray has put its files, or where the app was built.

    Raises:
        ReplicaStartError: there is no `app_root`.
    """
    if arguments.get("app_root"):
        try:
            os.chdir(arguments["app_root"])
        except OSError as error:
            raise ReplicaStartError(f"app_root cannot be used: {error}") from None
        return
    paths = [arguments[name] for name in ("entry_script", "config_file", "model_dir") if arguments.get(name)]
    here = any(os.path.exists(path) for path in paths if not os.path.isabs(path))
    if not here and any(os.path.exists(os.path.join(folder, path)) for path in paths):
        os.chdir(folder)


def _configure(arguments: Mapping[str, Any]) -> Configuration:
    """Return the configuration, and set up the environment that the script finds.

    Raises:
        ConfigurationError: a value or the file is not valid.
    """
    configuration = load_configuration(arguments, os.environ, os.getcwd())
    if configuration.settings.log_format == "json":
        from azmlinfsrv.telemetry import json_logs

        json_logs.install()
    for name in ignored_settings(configuration.sources):
        logger.warning("%s from %s has no effect under Ray.", name, configuration.sources[name])
    os.environ.update(script_environment(configuration, os.environ))
    hide_keys(os.environ)
    return configuration


class Replica:
    """The ASGI application of a replica, and its health.

    Args:
        scoring: the application.
        loaded: the script.
        settings: the settings.
    """

    def __init__(self, scoring: ScoringApp, loaded: boot.Loaded, settings: Settings) -> None:
        self._scoring = scoring
        self._init_s = loaded.init_s
        self._watch = StuckWatch(scoring.runner, settings.stuck_grace_ms, self._give_way)
        self._is_stuck = False
        self._ends = False
        scoring.on_tick = self._tick
        scoring.runner.looks = 0  # Ray's threads need the turns, and its next request is not there so soon
        scoring.stop_within_s = _STOP_S

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or follow the replica's life span."""
        if scope["type"] != "http":
            await self._scoring(scope, receive, send)
            return
        given = next((value for name, value in scope["headers"] if name == _REQUEST_ID), b"")

        async def send_once(message: Message) -> None:
            """Leave out the request's id: Ray's proxy gives each request one, and adds it to the answer itself."""
            if message["type"] == "http.response.start":
                message["headers"] = [field for field in message["headers"] if field != (_REQUEST_ID, given)]
            await send(message)

        await self._scoring(scope, receive, send_once)

    async def check_health(self) -> None:
        """Say whether the replica is of use; called by Ray now and then, on the event loop.

        The process of a stuck replica ends soon after it was told: it refuses requests at once, so Ray, which waits for
        three failed checks, would send it more and more of them.

        Raises:
            ReplicaStuckError: it is not.
        """
        if not (self._is_stuck or self._scoring.has_broken):
            return
        if not self._ends:
            self._ends = True
            asyncio.get_running_loop().call_later(_STUCK_HOLD_S, self._end)
        if self._is_stuck:
            raise ReplicaStuckError("run() does not come back; the log of the replica has its stack")
        raise ReplicaStuckError("the scoring thread has ended")

    def _tick(self) -> None:
        self._watch.check(time.perf_counter())
        health = self._scoring.app.health
        say = health.set if self._scoring.runner.admission.is_refusing else health.clear
        say(OVERLOADED)

    def _give_way(self) -> None:
        """Take no more work: a call of ``run()`` does not come back. What waits is refused."""
        self._is_stuck = True
        self._scoring.app.health.set(STUCK)
        self._scoring.runner.refuse(self._refusal)

    def _refusal(self) -> Response:
        error = WorkerStuckError()
        error.retry_after_s = 2 + int(self._init_s)
        return error_response(error)

    def _end(self) -> None:
        """End the process, although a thread of it does not."""
        self._scoring.stop_telemetry(_STOP_TELEMETRY_S)
        logger.info("Replica with pid %d ends with code %d", os.getpid(), STUCK_EXIT)
        for handler in logs.line_handlers():
            handler.write_lines()
        os._exit(STUCK_EXIT)
