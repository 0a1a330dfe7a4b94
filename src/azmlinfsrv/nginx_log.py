"""The lines that nginx writes, put into the server's format."""

from __future__ import annotations

import logging
import re
import time

from azmlinfsrv import logs

_ACCESS = re.compile(r"(?P<time>[0-9.]+) (?P<pid>\d+) (?P<address>\S+) (?P<rest>.*) (?P<user>\S+)", re.DOTALL)
_ERROR = re.compile(r"(\d{4}/\d\d/\d\d \d\d:\d\d:\d\d) \[(\w+)\] (\d+)#\d+: (?:\*\d+ )?(.*)", re.DOTALL)
_INHERITED = "using inherited sockets from"
_LEVELS = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "notice": logging.INFO,
    "warn": logging.WARNING,
    "error": logging.ERROR,
}


def log_access_line(line: str) -> None:
    """Log a line of nginx's access log, in the configuration's own format, as one of the server's."""
    found = _ACCESS.fullmatch(line)
    if found is None:
        log_error_line(line)
        return
    moment = float(found["time"])
    clock = logs.LineClock(lambda: moment)
    clock.prefix()
    text = f"{found['address']} - {found['user']} {clock.access} {found['rest']}"
    _handle(logging.getLogger(logs.ACCESS_LOGGER), logs.ACCESS_LOGGER, logging.INFO, text, int(found["pid"]), moment)


def log_error_line(line: str) -> None:
    """Log a line of nginx's error log, or what else it says, to the logger of processes."""
    if _INHERITED in line:
        return  # the usual start
    logger = logging.getLogger(logs.ERROR_LOGGER)
    found = _ERROR.fullmatch(line)
    if found is None:
        level = logging.WARNING if "[warn]" in line else logging.ERROR
        _handle(logger, "nginx", level, line.removeprefix("nginx: "), None, time.time())
        return
    moment = time.mktime(time.strptime(found[1], "%Y/%m/%d %H:%M:%S"))
    _handle(logger, "nginx", _LEVELS.get(found[2], logging.CRITICAL), found[4], int(found[3]), moment)


def _handle(logger: logging.Logger, name: str, level: int, text: str, pid: int | None, moment: float) -> None:
    """Have a logger write a record of another process."""
    if not logger.isEnabledFor(level):
        return
    record = logger.makeRecord(name, level, "", 0, "%s", (logs.printable(text),), None)
    record.created, record.msecs = moment, moment % 1 * 1000 // 1
    if pid is not None:
        record.process = pid
    logger.handle(record)
