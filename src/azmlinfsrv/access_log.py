"""The two lines of each request: the server's own and the access line in gunicorn's format.

Source: release 1.5.1. Where nothing but our own handlers listens, lines are formatted here and written in batches;
else each goes through `logging`.
"""

from __future__ import annotations

import base64
import logging
from collections.abc import Callable
from typing import Any

from azmlinfsrv import logs
from azmlinfsrv.messages import Request, Response

# How long a line may wait before it is written, and so what a crash may lose.
BATCH_S = 0.01

_SERVER = logging.getLogger(logs.LOGGER)
_ACCESS = logging.getLogger(logs.ACCESS_LOGGER)
_CONTROLS = {code: f"\\x{code:02x}" for code in [*range(32), 127, *range(128, 160)]}
_UNSAFE = _CONTROLS | {ord('"'): '\\"'}


class RequestLog:
    """Writes the lines of requests; used on the I/O thread only.

    Args:
        clock: the clock of the lines.
        call_later: schedules a function after some seconds, or None to write at once.
    """

    def __init__(self, clock: logs.LineClock, call_later: Callable[[float, Callable[[], None]], Any] | None) -> None:
        self._clock = clock
        self._call_later = call_later

    def server_line(self, request: Request, response: Response, duration_ms: float) -> None:
        """Write the line of a request to one of the named endpoints."""
        path = request.path if not request.query else f"{request.path}?{request.query.decode('latin-1')}"
        length = len(response.body) if response.stream is None else "N/A"
        text = f"{request.method} {_one_line(path)} {response.status} {duration_ms:0.3f}ms {length}"
        self._write(_SERVER, self._clock.prefix(), text)

    def access_line(self, request: Request, status: int, length: int) -> None:
        """Write the access line; `length` counts the bytes of the body that were sent."""
        headers, prefix = request.headers, self._clock.prefix()
        referer = _safe(headers[b"referer"].decode("latin-1")) if b"referer" in headers else "-"
        agent = _safe(headers[b"user-agent"].decode("latin-1")) if b"user-agent" in headers else "-"
        user = _user(headers[b"authorization"]) if b"authorization" in headers else "-"
        line = f"{request.method} {request.target.decode('latin-1')} HTTP/{request.version}"
        text = (
            f'{request.client[0]} - {user} {self._clock.access} "{_safe(line)}" {status} {length} "{referer}" "{agent}"'
        )
        self._write(_ACCESS, prefix, text)

    def _write(self, logger: logging.Logger, prefix: str, text: str) -> None:
        handler = logs.line_handler(logger)
        if handler is None:
            logger.info("%s", text)
        elif logger.filters and logs.PROBE in text:
            return
        elif handler.add_line(f"{prefix}{logger.name} - {text}\n"):
            if self._call_later is None:
                handler.write_lines()
            else:
                self._call_later(BATCH_S, handler.write_lines)


def _one_line(text: str) -> str:
    """Return the text with control characters escaped, so that it stays one line."""
    return text if text.isprintable() else text.translate(_CONTROLS)


def _safe(text: str) -> str:
    """Return the text with control characters and quotes escaped, so that it stays one line and one field."""
    return text if text.isalnum() or (text.isprintable() and '"' not in text) else text.translate(_UNSAFE)


def _user(authorization: bytes) -> str:
    """Return the name in a Basic authorization (RFC 7617), or ``-``."""
    kind, _, value = authorization.partition(b" ")
    if kind.lower() != b"basic":
        return "-"
    try:
        return _safe(base64.b64decode(value).decode().partition(":")[0]) or "-"
    except ValueError:
        return "-"
