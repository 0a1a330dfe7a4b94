"""How a script's ``run()`` is called: the runner that fits it and the settings."""

from __future__ import annotations

import inspect
import logging
import math
import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, NamedTuple

from azmlinfsrv import allocation
from azmlinfsrv.admission import Bounds
from azmlinfsrv.async_runner import AsyncRunner
from azmlinfsrv.batch_runner import BatchRunner, BatchThreadsRunner
from azmlinfsrv.batch_scorer import BatchScorer
from azmlinfsrv.batching import BatchLimits, marked_limits
from azmlinfsrv.decorated import functions_of
from azmlinfsrv.errors import ScriptError
from azmlinfsrv.inputs import input_parser
from azmlinfsrv.messages import Request
from azmlinfsrv.runner import Runner, ThreadsRunner
from azmlinfsrv.scorer import Scorer
from azmlinfsrv.script import Script, Style
from azmlinfsrv.settings import Settings

if TYPE_CHECKING:
    from azmlinfsrv.inference import InferenceModel
    from azmlinfsrv.telemetry.observer import Observer

logger = logging.getLogger("azmlinfsrv.user_script")


def batch_limits(script: Script, settings: Settings) -> BatchLimits | None:
    """Return what a batch of requests may be, and None where requests are scored one by one.

    Raises:
        ScriptError: batches are wanted, but ``run()`` is not one that can take them.
    """
    marked, size = marked_limits(script.run), settings.max_batch_size
    if marked is None and size is None:
        if settings.max_batch_wait_ms is not None:
            logger.warning("AZMLINFSRV_MAX_BATCH_WAIT_MS has no effect: nothing says that requests make batches.")
        return None
    limits = marked or BatchLimits()
    if size is not None:
        limits = limits._replace(max_batch_size=size)
    if settings.max_batch_wait_ms is not None:
        limits = limits._replace(max_wait_ms=settings.max_batch_wait_ms)
    obstacle = _obstacle(script)
    if obstacle:
        raise ScriptError(f"run() cannot be called with batches: {obstacle}.")
    what = "a list of inputs" if script.style is Style.JSON_TEXT else "the rows of several requests"
    logger.info("run() is called with batches: %s, up to %d.", what, limits.max_batch_size)
    return limits


def _obstacle(script: Script) -> str:
    """Return why ``run()`` cannot take batches, or ""."""
    if script.style is Style.RAW:
        return "it is decorated with @rawhttp, and takes one HTTP request"
    if script.is_async:
        return "it is async; leave async out, or leave batches out"
    if any(map(inspect.isgeneratorfunction, functions_of(script.run))):
        return "it is a generator, whose answer is a stream"
    if script.takes_headers and script.style is not Style.JSON_TEXT:
        return "it takes request_headers, which several requests do not share"
    return ""


def make_runner(
    script: Script,
    settings: Settings,
    drain: Callable[[], None],
    observer: Observer | None = None,
    limits: BatchLimits | None = None,
    inference: InferenceModel | None = None,
) -> Runner:
    """Return the runner for the script: batches, asyncio for an ``async def run()``, else one or more threads.

    Args:
        script: the loaded script.
        settings: the settings.
        drain: lets unfinished printed lines go.
        observer: is told what happens; None where no telemetry is wanted.
        limits: what `batch_limits` returned.
        inference: the script as a model of the Open Inference Protocol; None where that is not served.
    """
    flask = _flask(settings, script) if script.uses_flask or script.style is Style.RAW else _NO_FLASK
    if script.style in (Style.SCHEMA, Style.TYPED):
        allocation.keep_freed(os.environ)
    parse = input_parser(script, flask.request, settings.max_body_bytes, inference and inference.parser)
    tell = observer.exception if observer is not None else None
    scorer = (Scorer if inference is None else inference.scorer)(script, parse, flask.context, tell)
    timeouts = settings.scoring_timeout_ms, settings.write_timeout_ms
    runner: Runner
    if limits is not None:
        batches = BatchScorer(script, parse, scorer, flask.without_request, retries=settings.batch_retry)
        runner = _batch_runner(batches, limits, settings.worker_threads, *timeouts, drain)
    elif script.is_async:
        runner = AsyncRunner(scorer, *timeouts, drain, limit=settings.async_limit)
    elif settings.worker_threads > 1:
        runner = ThreadsRunner(scorer, *timeouts, drain, threads=settings.worker_threads)
    else:
        runner = Runner(scorer, *timeouts, drain)
    bounds = Bounds(settings.max_queue, settings.max_queue_bytes, settings.max_concurrent_requests or math.inf)
    runner.limit(bounds, settings.max_queue_wait_ms, settings.deadline_header)
    if observer is not None:
        runner.enter = observer.enter
    elif settings.log_format == "json":
        from azmlinfsrv.telemetry import current

        runner.enter = current.enter
    return runner


def _batch_runner(batches: BatchScorer, limits: BatchLimits, threads: int, *rest: Any) -> Runner:
    if threads > 1:
        return BatchThreadsRunner(batches, limits, *rest, threads=threads)
    return BatchRunner(batches, limits, *rest)


class _Flask(NamedTuple):
    """What scripts that use Flask need around their calls."""

    context: Callable[[Request], AbstractContextManager[None]] | None
    without_request: Callable[[], AbstractContextManager[Any]] | None
    request: Callable[[Request], Any]


def _flask(settings: Settings, script: Script) -> _Flask:
    from azmlinfsrv.flask_bridge import FlaskBridge

    bridge = FlaskBridge(settings.flask_one_compatibility, awaitable=script.is_async)
    return _Flask(bridge.context, bridge.without_request, bridge.request)


def _no_flask(_: Request) -> Any:
    message = "the script does not use Flask"
    raise RuntimeError(message)


_NO_FLASK = _Flask(None, None, _no_flask)
