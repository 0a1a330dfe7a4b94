"""The two lines of each request: the server's own and the access line in gunicorn's format.

Source: release 1.5.1. Where nothing but our own handlers listens, lines are formatted here and written in batches;
else each goes through `logging`.
"""

from __future__ import annotations

import base64
import functools
import logging
import time
from collections.abc import Callable, Mapping
from typing import Any

from azmlinfsrv import logs
from azmlinfsrv.messages import Request, Response

# How long a line may wait before it is written, and so what a crash may lose.
BATCH_S = 0.01
# From this length on a call of ``run()`` is long enough for lines to be written before the next one.
_LONG_RUN_S = 0.001

# Values up to this length are remembered: most requests have the same few.
_USUAL_BYTES = 128
_SERVER = logging.getLogger(logs.LOGGER)
_ACCESS = logging.getLogger(logs.ACCESS_LOGGER)


class _Channel:
    """Where the lines of one logger go.

    Attributes:
        logger: the logger.
        handler: takes whole lines, or None where `logging` must decide.
        drops_probes: whether the lines of probes are left out.
    """

    def __init__(self, logger: logging.Logger) -> None:
        self.logger = logger
        self.handler: logs.LineHandler | None = None
        self.drops_probes = False

    def look(self) -> None:
        """See who listens to the logger."""
        self.handler = logs.line_handler(self.logger)
        self.drops_probes = bool(self.logger.filters)


class RequestLog:
    """Writes the lines of requests; used on the I/O thread only.

    Who listens to the loggers is looked up once for all lines that are written together.

    Args:
        clock: the clock of the lines.
        call_later: schedules a function after some seconds, or None to write at once.
    """

    def __init__(self, clock: logs.LineClock, call_later: Callable[[float, Callable[[], None]], Any] | None) -> None:
        self._clock = clock
        self._call_later = call_later
        self._server, self._access = _Channel(_SERVER), _Channel(_ACCESS)
        self._gathering: Any = None
        self._is_after_long_run = False

    def server_line(self, request: Request, response: Response, duration_ms: float) -> None:
        """Write the line of a request to one of the named endpoints."""
        path = request.path if not request.query else f"{request.path}?{request.query.decode('latin-1')}"
        length = len(response.body) if response.stream is None else "N/A"
        text = f"{request.method} {logs.printable(path)} {response.status} {duration_ms:0.3f}ms {length}"
        self._write(self._server, self._clock.prefix(), text)
        if request.run_s > _LONG_RUN_S:
            self._is_after_long_run = True

    def access_line(self, request: Request, status: int, length: int) -> None:
        """Write the access line; `length` counts the bytes of the body that were sent."""
        headers, prefix = request.headers, self._clock.prefix()
        referer = _field(headers[b"referer"]) if b"referer" in headers else "-"
        agent = _field(headers[b"user-agent"]) if b"user-agent" in headers else "-"
        user = _user(headers[b"authorization"]) if b"authorization" in headers else "-"
        line = f"{request.method} {_field(request.target)} HTTP/{request.version}"
        text = f'{request.client[0]} - {user} {self._clock.access} "{line}" {status} {length} "{referer}" "{agent}"'
        self._write(self._access, prefix, text)

    def _write(self, channel: _Channel, prefix: str, text: str) -> None:
        if self._gathering is None:
            self._gather()
        handler = channel.handler
        if handler is None:
            logs.write(channel.logger, logging.INFO, "%s", text)
        elif not (channel.drops_probes and logs.PROBE in text):
            handler.add_line(f"{prefix}{channel.logger.name} - {text}\n")
            if self._call_later is None:
                handler.write_lines()

    def _gather(self) -> None:
        """Look at the loggers, and have the lines written after a while that are kept from now on."""
        self._server.look()
        self._access.look()
        if self._call_later is not None:
            self._gathering = self._call_later(BATCH_S, self._write_gathered)

    def before_run(self) -> None:
        """Write the lines that are kept before ``run()`` is called, if it is known to take long.

        When their time has come it might be at work, and waking this thread then costs both of them.
        """
        if self._is_after_long_run and self._gathering is not None:
            self._gathering.cancel()
            self._write_gathered()

    def _write_gathered(self) -> None:
        self._gathering, self._is_after_long_run = None, False
        for channel in (self._server, self._access):
            if channel.handler is not None:
                channel.handler.write_lines()


class JsonRequestLog(RequestLog):
    """Hands the lines to `logging`, with the request and its values beside the text; for handlers that write JSON."""

    _extra: Mapping[str, Any] | None = None

    def server_line(self, request: Request, response: Response, duration_ms: float) -> None:
        """See `RequestLog.server_line`."""
        self._extra = _extra(request, response.status, duration_ms)
        super().server_line(request, response, duration_ms)

    def access_line(self, request: Request, status: int, length: int) -> None:
        """See `RequestLog.access_line`."""
        self._extra = _extra(request, status, (time.perf_counter() - request.received) * 1000)
        super().access_line(request, status, length)

    def _write(self, channel: _Channel, prefix: str, text: str) -> None:
        logs.write(channel.logger, logging.INFO, "%s", text, extra=self._extra)


def _extra(request: Request, status: int, duration_ms: float) -> dict[str, Any]:
    fields = {"method": request.method, "path": request.path, "status": status, "duration_ms": round(duration_ms, 3)}
    return {logs.REQUEST: request, logs.FIELDS: fields}


def _safe(text: str) -> str:
    """Return the text with quotes and all that cannot be shown escaped, so that it stays one line and one field."""
    if text.isalnum():
        return text
    return logs.printable(text if '"' not in text else text.replace('"', '\\"'))


@functools.lru_cache(256)
def _usual_field(value: bytes) -> str:
    return _safe(value.decode("latin-1"))


def _field(value: bytes) -> str:
    """Return a header value or request target as the access line has it."""
    return _usual_field(value) if len(value) <= _USUAL_BYTES else _safe(value.decode("latin-1"))


def _user(authorization: bytes) -> str:
    """Return the name in a Basic authorization (RFC 7617), or ``-``."""
    kind, _, value = authorization.partition(b" ")
    if kind.lower() != b"basic":
        return "-"
    try:
        return _safe(base64.b64decode(value).decode().partition(":")[0]) or "-"
    except ValueError:
        return "-"
