"""Log lines as JSON objects, one a line, with the ids of the request to which they belong."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable
from typing import Any, TextIO

import orjson

from azmlinfsrv.logs import ACCESS_LOGGER, ERROR_LOGGER, FIELDS, LOGGER, PRINT_LOGGER, REQUEST
from azmlinfsrv.messages import Request
from azmlinfsrv.telemetry import current
from azmlinfsrv.telemetry.current import origin_of
from azmlinfsrv.telemetry.records import Origin
from azmlinfsrv.telemetry.trace_context import span_ids


class JsonFormatter(logging.Formatter):
    """Writes a log record as a JSON object: time (UTC), level, logger, process, message, ids, and what else it has."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the object, without the end of the line."""
        content: dict[str, Any] = {
            "time": f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(record.created))}.{int(record.msecs):03d}Z",
            "level": record.levelname,
            "logger": record.name,
            "process": record.process,
            "message": record.getMessage(),
        }
        request: Request | None = getattr(record, REQUEST, None)
        origin = current.origin() if request is None else origin_of(request)
        if origin is not None:
            content |= ids_of(origin)
        content |= getattr(record, FIELDS, None) or {}
        if record.exc_info:
            content["exception"] = self.formatException(record.exc_info)
        if record.stack_info:
            content["stack"] = self.formatStack(record.stack_info)
        line = orjson.dumps(_clean(content), default=str).decode()
        return line if line.isprintable() else _escaped(line)


def ids_of(origin: Origin) -> dict[str, str]:
    """Return the ids of a request, under the names that they have in a line."""
    ids = span_ids(origin)
    found = {"request_id": origin.request_id, "trace_id": ids.trace_id, "span_id": ids.span_id}
    if origin.client_id:
        found["client_request_id"] = origin.client_id
    return found


def install() -> None:
    """Have the server's loggers, and the script's on the root logger's handlers, write JSON."""
    formatter = JsonFormatter()
    for name in (None, LOGGER, ACCESS_LOGGER, ERROR_LOGGER):
        for handler in logging.getLogger(name).handlers:
            handler.setFormatter(formatter)


def stderr_lines(stream: TextIO) -> Callable[[str], None]:
    """Return a function that writes each line that the script writes to stderr as an object to a stream."""
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonFormatter())

    def write(line: str) -> None:
        record = logging.LogRecord(PRINT_LOGGER, logging.ERROR, "", 0, "%s", (line,), None)
        setattr(record, FIELDS, {"stream": "stderr"})
        handler.handle(record)

    return write


def _escaped(line: str) -> str:
    """Return a JSON text with what cannot be shown escaped as JSON has it: a terminal may act on it, or break the line.

    It stands within strings, because what is between them is ASCII.
    """
    return "".join(each if each.isprintable() else json.dumps(each)[1:-1] for each in line)


def _clean(content: dict[str, Any]) -> dict[str, Any]:
    """Return the same with texts that JSON can hold: a lone surrogate is written as its escape."""
    return {
        name: value.encode("utf-8", "backslashreplace").decode() if isinstance(value, str) else value
        for name, value in content.items()
    }
