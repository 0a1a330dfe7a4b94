"""What happens in the server, turned into records for the back ends.

Every method may be called on any thread, returns at once, and never raises. Where no back end is wanted there is no
observer, and nothing of this is imported.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from azmlinfsrv.inference_settings import LIVE, READY
from azmlinfsrv.messages import Request, Response
from azmlinfsrv.telemetry import current
from azmlinfsrv.telemetry.current import origin_of
from azmlinfsrv.telemetry.failures import describe
from azmlinfsrv.telemetry.pipeline import Pipeline
from azmlinfsrv.telemetry.records import (
    TEXT_LIMIT,
    VALUE_LIMIT,
    ExceptionRecord,
    LogLine,
    PrintedLine,
    Record,
    RequestRecord,
)

logger = logging.getLogger("azmlinfsrv.telemetry")

# Probes and scrapes say nothing of the service's use; the documents leave out "/".
UNTOLD = frozenset({"/", "/live", "/ready", "/metrics", LIVE, READY})


class Observer:
    """Tells the back ends what happens.

    Args:
        pipelines: one for each back end.
        keep_response: whether the text of answers is wanted.
        keep_model_data: whether inputs and outputs are wanted.
        attach: makes the span of the request current in the calling thread or task.

    Attributes:
        is_text: whether ``run()`` gets the body as a text; known once the script is loaded.
        readings: returns the metrics of this moment; set once the worker has some.
    """

    def __init__(
        self,
        pipelines: Sequence[Pipeline],
        *,
        keep_response: bool,
        keep_model_data: bool,
        attach: Callable[[], Any],
    ) -> None:
        self.is_text = True
        self.readings: Callable[[], Iterable[Any]] = tuple
        self._attach = attach
        self._baton: tuple[int, int] | None = None
        self._pipelines = tuple(pipelines)
        self._keep_response = keep_response or keep_model_data
        self._keep_model_data = keep_model_data

    def count_drops(self, count: Callable[[str, int], None]) -> None:
        """Tell a function of the records that were lost since it was last told, by the name of where they were to go.

        Called on one thread at a time.
        """
        for pipeline in self._pipelines:
            drops = pipeline.new_drops()
            if drops:
                count(pipeline.backend.sink, drops)

    def answered(self, request: Request, sent_bytes: int) -> None:
        """Tell of a request whose answer is complete, or will never be.

        Args:
            request: the request, with its response.
            sent_bytes: number of bytes of the body that were sent.
        """
        response = request.response
        if response is None or request.path in UNTOLD:
            return
        record = None
        for pipeline in self._pipelines:
            if pipeline.has_room():
                record = record or self._request_record(request, response, sent_bytes)
                pipeline.put(record)

    def _request_record(self, request: Request, response: Response, sent_bytes: int) -> RequestRecord:
        duration_ns = int((time.perf_counter() - request.received) * 1e9)
        headers = request.headers
        kept = self._keep_response and response.stream is None
        body = response.body
        host = headers.get(b"host", b"").decode("latin-1")
        return RequestRecord(
            origin_of(request),
            request.method,
            request.path,
            request.target[:VALUE_LIMIT],
            request.scheme,
            host or f"{request.server[0]}:{request.server[1]}",
            request.client[0],
            headers.get(b"user-agent", b""),
            request.version,
            request.route or (request.path if request.matched else ""),
            response.status,
            time.time_ns() - duration_ns,
            duration_ns,
            response.exec_ms,
            bytes(body[:VALUE_LIMIT]) if kept else None,
            len(body) > VALUE_LIMIT,
            sent_bytes,
            "disconnected" if request.disconnected else "aborted" if request.is_aborted else "",
            bytes(request.body[:VALUE_LIMIT]) if self._keep_model_data else None,
            self.is_text,
        )

    def printed(self, stream: str, request_id: str, line: str) -> None:
        """Tell of a printed line; see `capture.Sink`."""
        pipelines = [pipeline for pipeline in self._pipelines if pipeline.has_room()]
        if pipelines and line:
            record = PrintedLine(time.time_ns(), stream, request_id, line[:VALUE_LIMIT], current.origin())
            _put(pipelines, record)

    def exception(self, error: BaseException, request: Request | None) -> None:
        """Tell of an exception of the user's code; of init() and imports, where there is no request."""
        pipelines = [pipeline for pipeline in self._pipelines if pipeline.has_room()]
        if pipelines:
            origin = origin_of(request) if request is not None else None
            try:
                _put(pipelines, ExceptionRecord(time.time_ns(), describe(error), origin))
            except Exception as own:  # noqa: BLE001 - the border of telemetry
                logger.debug("an exception could not be told: %s", type(own).__name__)

    def logged(self, record: logging.LogRecord) -> None:
        """Tell of a record of the script's logging."""
        if any(pipeline.is_own_thread() for pipeline in self._pipelines):
            return  # an exporter's own doings
        pipelines = [pipeline for pipeline in self._pipelines if pipeline.has_room()]
        if not pipelines:
            return
        error = record.exc_info[1] if record.exc_info else None
        line = LogLine(
            int(record.created * 1e9),
            record.levelno,
            record.name,
            record.getMessage()[:TEXT_LIMIT],
            (record.pathname, record.lineno, record.funcName or ""),
            describe(error) if error is not None else None,
            current.origin(),
        )
        _put(pipelines, line)

    def watch_logging(self) -> None:
        """Tell of what is logged on the root logger from now on; the server's own loggers do not reach it."""
        root = logging.getLogger()
        if not any(isinstance(handler, ScriptLogHandler) for handler in root.handlers):
            root.addHandler(ScriptLogHandler(self))

    def enter(self, request: Request) -> None:
        """Say that the calling thread or task works on a request from now on."""
        current.enter(request)
        self._attach()

    def carry(self) -> Callable[[], None]:
        """Return a function that has another thread work on the request of this one."""
        take, attach = current.carry(), self._attach

        def carried() -> None:
            take()
            attach()

        return carried

    def share(self) -> None:
        """Have one of the processes that will be forked send what waits until then; called before the first fork."""
        reading, writing = os.pipe()
        os.set_blocking(reading, False)
        os.write(writing, b"1")
        self._baton = reading, writing

    def start(self) -> None:
        """Start to send; called in the process that serves, after a fork if there is one."""
        if self._baton is not None:
            try:
                os.read(self._baton[0], 1)
            except BlockingIOError:  # another process has it
                for pipeline in self._pipelines:
                    pipeline.forget()
            self._baton = None
        for pipeline in self._pipelines:
            pipeline.start()

    def close(self, timeout_s: float) -> None:
        """Send what waits, for so long at the most, and stop."""
        end = time.monotonic() + timeout_s
        self.start()
        for pipeline in self._pipelines:
            pipeline.close(max(end - time.monotonic(), 0.0))


class ScriptLogHandler(logging.Handler):
    """Tells the observer what the script logs; stands at the root logger."""

    def __init__(self, observer: Observer) -> None:
        super().__init__()
        self._observer = observer

    def emit(self, record: logging.LogRecord) -> None:
        """Take one record."""
        try:
            self._observer.logged(record)
        except Exception:  # noqa: BLE001 - the border of telemetry; its message cannot be formatted
            self.handleError(record)


def _put(pipelines: Sequence[Pipeline], record: Record) -> None:
    for pipeline in pipelines:
        pipeline.put(record)
