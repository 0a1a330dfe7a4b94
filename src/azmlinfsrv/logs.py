"""Logging: the release's line formats in UTC, the user's logging.json, and lines written in batches.

Source: release 1.5.1 (formats, logger names, file lookup); `contract.md`, "AZUREML_LOG_LEVEL".
"""

from __future__ import annotations

import json
import logging
import logging.config
import os
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any, Literal, TextIO

LOGGER = "azmlinfsrv"
ACCESS_LOGGER = "gunicorn.access"
ERROR_LOGGER = "gunicorn.error"
PRINT_LOGGER = "azmlinfsrv.print"
PROBE = "GET / HTTP/1.1"
# Attributes by which a log record carries the request that it is about, and values of its own.
REQUEST, FIELDS = "azmlinfsrv_request", "azmlinfsrv_fields"
FORMAT = "%(asctime)s %(levelname).1s [%(process)d] %(name)s - %(message)s"

PACKAGE = os.path.dirname(os.path.abspath(__file__))


class RootAccessFilter(logging.Filter):
    """Leaves health probes out of the access log."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Return False for the line of a ``GET /``."""
        return PROBE not in record.getMessage()


class AMLLogFormatter(logging.Formatter):
    """Formats lines as release 1.5.1 does, with times in UTC."""

    converter = staticmethod(time.gmtime)

    def __init__(
        self,
        fmt: str = FORMAT,
        datefmt: str | None = None,
        style: Literal["%", "{", "$"] = "%",
        validate: bool = True,
        *,
        defaults: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(fmt=fmt, datefmt=datefmt, style=style, validate=validate, defaults=defaults)


class LineHandler(logging.StreamHandler):  # type: ignore[type-arg]  # no subscript before Python 3.11
    """A stream handler that also takes finished lines, and writes those that have gathered at once."""

    def __init__(self, stream: TextIO | None = None) -> None:
        super().__init__(stream)
        self._lines: list[str] = []
        self._lost = 0

    def add_line(self, line: str) -> None:
        """Keep a line (with its end) until the next write."""
        self._lines.append(line)

    def write_lines(self) -> None:
        """Write the lines that are kept."""
        if not self._lines:
            return
        with self.lock:  # type: ignore[union-attr]  # always made by logging.Handler
            lines = self._lines[:]
            del self._lines[: len(lines)]  # not those that another thread has added meanwhile
            try:
                self._write(self._mended() + "".join(lines))
                self.flush()
                self._lost = 0
            except (OSError, ValueError):
                self._lose(sum(map(bool, lines)))

    def _mended(self) -> str:
        """Return the line that says what could not be written before."""
        if not self._lost:
            return ""
        text = "Lines of the log that could not be written before, and are lost: %d"
        return self.format(logging.LogRecord(LOGGER, logging.ERROR, "", 0, text, (self._lost,), None)) + "\n"

    def _lose(self, lines: int) -> None:
        """Count lines that could not be written; only the first error is shown, since each is long."""
        self._lost += lines
        if self._lost == lines:
            super().handleError(logging.LogRecord(LOGGER, logging.ERROR, "", 0, "log lines lost", None, None))

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's name
        """Show what is wrong with a record; a stream that takes nothing is another matter."""
        if isinstance(sys.exc_info()[1], OSError):
            self._lose(1)
        else:
            super().handleError(record)

    def _write(self, text: str) -> None:
        """Write text; characters that the stream cannot encode are escaped, and cost no other line."""
        try:
            self.stream.write(text)
        except UnicodeEncodeError:
            encoding = getattr(self.stream, "encoding", None) or "ascii"
            self.stream.write(text.encode(encoding, "backslashreplace").decode(encoding))

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record, after the lines that are kept."""
        self.write_lines()
        if self._lost:
            self._lines.append("")
            self.write_lines()  # says first what was lost, if it can be said now
        super().emit(record)


def configure(
    app_root: str, script_folder: str | None, level: str | None, dress: Callable[[], None] | None = None
) -> None:
    """Apply the first logging.json of the app root and the script's folder, and the level.

    Args:
        app_root: AML_APP_ROOT.
        script_folder: folder of the entry script, if any.
        level: AZUREML_LOG_LEVEL, or None.
        dress: gives the handlers of a logging.json that was applied another format; or None.

    Raises:
        ValueError: the logging.json is not valid.
    """
    for folder in (app_root, script_folder):
        if folder and os.path.isfile(os.path.join(folder, "logging.json")):
            load(folder)
            if dress is not None:
                dress()
            announce(folder)
            break
    if level:
        set_level(level)


def load(folder: str) -> None:
    """Apply the logging.json of a folder.

    Raises:
        ValueError: it is not valid.
    """
    with open(os.path.join(folder, "logging.json"), encoding="utf-8") as file:
        logging.config.dictConfig(json.load(file))


def announce(folder: str) -> None:
    """Log that the logging.json of a folder has been applied."""
    logging.getLogger(LOGGER).info("Loaded logging config from %s", os.path.join(folder, "logging.json"))


def set_level(level: str) -> None:
    """Set the level of the server's loggers; their handlers let it through."""
    for name in (LOGGER, ACCESS_LOGGER, ERROR_LOGGER):
        logger = logging.getLogger(name)
        logger.setLevel(level)
        for handler in logger.handlers:
            handler.setLevel(min(handler.level, logger.level))


def log_configuration_error(error: Exception) -> None:
    """Log a setting that cannot be used, framed as release 1.5.1 does."""
    frame = "===============Configuration Error================="
    logging.getLogger(LOGGER).critical("\n%s\n%s\n%s", frame, error, "=" * len(frame))


def printable(text: str) -> str:
    """Return text of a client's with all that cannot be shown escaped: line ends, escape sequences, marks of direction.

    What is written to a terminal or read line by line says what was sent, and nothing of its own.
    """
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else _escape(ord(each)) for each in text)


def _escape(code: int) -> str:
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def write(
    logger: logging.Logger, level: int, text: str, *arguments: Any, extra: Mapping[str, Any] | None = None
) -> None:
    """Log where a request depends on it: what a handler or filter of the user's raises is shown, and not raised.

    Args:
        logger: the logger.
        level: the level.
        text: the format.
        *arguments: its arguments.
        extra: attributes of the record.
    """
    try:
        logger.log(level, text, *arguments, extra=extra, stacklevel=2)
    except Exception:  # noqa: BLE001 - the border to user code
        logging.NullHandler().handleError(logging.LogRecord(logger.name, level, "", 0, text, arguments, None))


def line_handlers() -> list[LineHandler]:
    """Return the handlers in which lines may wait."""
    loggers = (logging.getLogger(name) for name in (LOGGER, ACCESS_LOGGER, ERROR_LOGGER))
    return [handler for logger in loggers for handler in logger.handlers if isinstance(handler, LineHandler)]


def line_handler(logger: logging.Logger) -> LineHandler | None:
    """Return the handler to which whole lines of this logger may be given, or None where logging must decide.

    None, too, where something else listens: handlers further up, filters, or another formatter.
    """
    if len(logger.handlers) != 1 or not logger.isEnabledFor(logging.INFO) or logger.disabled:
        return None
    handler = logger.handlers[0]
    if type(handler) is not LineHandler or type(handler.formatter) is not AMLLogFormatter or handler.filters:
        return None
    if handler.formatter._fmt != FORMAT or handler.formatter.datefmt is not None or handler.level > logging.INFO:
        return None
    if any(type(each) is not RootAccessFilter for each in logger.filters):
        return None
    parent = logger.parent if logger.propagate else None
    while parent is not None:
        if parent.handlers:
            return None
        parent = parent.parent if parent.propagate else None
    return handler


class LineClock:
    """Gives the start of a log line and the times of answers, formatted once a second."""

    def __init__(self, now: Callable[[], float] = time.time) -> None:
        self._now = now
        self._second = self._millisecond = -1
        self._process = os.getpid()
        self._log = self._prefix = ""
        self.access = ""
        self._http = ""

    def prefix(self) -> str:
        """Return the time of now, the level I and the process, as the format has them; refreshes the other times."""
        millisecond = int(self._now() * 1000)
        if millisecond != self._millisecond:
            self._millisecond = millisecond
            second, rest = divmod(millisecond, 1000)
            if second != self._second:
                self._refresh(second)
            self._prefix = f"{self._log},{rest:03d} I [{self._process}] "
        return self._prefix

    def http_date(self) -> str:
        """Return the time of now as a Date field has it (RFC 9110, 5.6.7)."""
        second = int(self._now())
        if second != self._second:
            self._refresh(second)
        return self._http

    def _refresh(self, second: int) -> None:
        parts = time.gmtime(second)
        self._second = second
        self._log = time.strftime("%Y-%m-%d %H:%M:%S", parts)
        day, month = _DAYS[parts.tm_wday], _MONTHS[parts.tm_mon - 1]
        clock = f"{parts.tm_hour:02d}:{parts.tm_min:02d}:{parts.tm_sec:02d}"
        self._http = f"{day}, {parts.tm_mday:02d} {month} {parts.tm_year} {clock} GMT"
        local = time.localtime(second)
        self.access = f"[{local.tm_mday:02d}/{_MONTHS[local.tm_mon - 1]}/{time.strftime('%Y:%H:%M:%S %z', local)}]"


_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
