"""nginx's lines in the server's format."""

from __future__ import annotations

import io
import logging
import re
from collections.abc import Iterator

import pytest

from azmlinfsrv import logs, nginx_log

ACCESS = '1000000000.250 77 127.0.0.1 "{request}" 413 62 "-" "curl/8.0 (a b)" joe'


@pytest.fixture
def console(monkeypatch: pytest.MonkeyPatch) -> Iterator[io.StringIO]:
    """What both loggers write to, formatted as on the console."""
    text = io.StringIO()
    handler = logging.StreamHandler(text)
    handler.setFormatter(logs.AMLLogFormatter())
    for name in (logs.ACCESS_LOGGER, logs.ERROR_LOGGER):
        logger = logging.getLogger(name)
        monkeypatch.setattr(logger, "handlers", [handler])
        monkeypatch.setattr(logger, "propagate", False)
        monkeypatch.setattr(logger, "level", logging.INFO)
        logger.manager._clear_cache()  # type: ignore[attr-defined]  # levels are remembered
    monkeypatch.setattr(logging.getLogger(logs.ACCESS_LOGGER), "filters", [logs.RootAccessFilter()])
    yield text
    for name in (logs.ACCESS_LOGGER, logs.ERROR_LOGGER):
        logging.getLogger(name).manager._clear_cache()  # type: ignore[attr-defined]  # as before


def test_access_line(console: io.StringIO) -> None:
    """The line has time, process, address, user and all else where the server's own have them."""
    nginx_log.log_access_line(ACCESS.format(request="POST /score?a=1 HTTP/1.1"))
    line = re.sub(r"\[\d\d/\w{3}/\d{4}:\d\d:\d\d:\d\d [+-]\d{4}\]", "CLOCK", console.getvalue())
    assert line == (
        "2001-09-09 01:46:40,250 I [77] gunicorn.access - "
        '127.0.0.1 - joe CLOCK "POST /score?a=1 HTTP/1.1" 413 62 "-" "curl/8.0 (a b)"\n'
    )


def test_probes_are_left_out(console: io.StringIO) -> None:
    """The filter of probes sees these lines too."""
    nginx_log.log_access_line(ACCESS.format(request="GET / HTTP/1.1"))
    assert console.getvalue() == ""


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("2026/11/22 04:14:13 [error] 12#13: *4 connect() failed", "E [12] nginx - connect() failed"),
        ("2026/11/22 04:14:13 [crit] 12#12: open() failed", "C [12] nginx - open() failed"),
        ("2026/11/22 04:14:13 [notice] 12#12: signal", "I [12] nginx - signal"),
        ("nginx: [emerg] unknown directive", "nginx - [emerg] unknown directive"),
        ("something else", "nginx - something else"),
    ],
)
def test_error_line(console: io.StringIO, line: str, expected: str) -> None:
    """Level, process and message are those of nginx."""
    nginx_log.log_error_line(line)
    (written,) = console.getvalue().splitlines()
    assert re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} ", written)
    assert written.endswith(expected)


def test_the_usual_start_says_nothing(console: io.StringIO) -> None:
    """That nginx takes its sockets over is not worth a line."""
    nginx_log.log_error_line('2026/11/22 04:14:13 [notice] 12#12: using inherited sockets from "9;"')
    assert console.getvalue() == ""


def test_lower_levels_are_left_out(console: io.StringIO) -> None:
    """The logger's level holds for nginx too."""
    nginx_log.log_error_line("2026/11/22 04:14:13 [debug] 12#12: detail")
    assert console.getvalue() == ""
