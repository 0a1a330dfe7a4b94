"""The lines of requests: the fast path and the one through `logging` write the same."""

from __future__ import annotations

import base64
import io
import logging
import os
import re
from collections.abc import Callable

import pytest

from azmlinfsrv import access_log, logs
from azmlinfsrv.access_log import BATCH_S, RequestLog
from azmlinfsrv.messages import Request, Response
from tests.unit.http_fakes import CLIENT, request

STAMP = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} ")
CLOCK = re.compile(r"\[\d\d/(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)/\d{4}:\d\d:\d\d:\d\d [+-]\d{4}\]")
# 2001-09-09 01:46:40.250 UTC.
NOW = 1_000_000_000.25


class Timer:
    """Keeps what is to be called later; cancelling takes back all of it."""

    def __init__(self) -> None:
        self.calls: list[tuple[float, Callable[[], None]]] = []

    def __call__(self, seconds: float, function: Callable[[], None]) -> Timer:
        """Keep a call."""
        self.calls.append((seconds, function))
        return self

    def cancel(self) -> None:
        """Make no call."""
        self.calls.clear()


class Console:
    """The console: what the one handler of both loggers writes to.

    Attributes:
        server: the logger of the server's own lines.
        access: the logger of access lines, with the filter of probes.
    """

    def __init__(self) -> None:
        self._text = io.StringIO()
        handler = logs.LineHandler(self._text)
        handler.setFormatter(logs.AMLLogFormatter())
        # Not those of the process: pytest and other tests listen to them.
        self.server = logging.Logger(logs.LOGGER)  # noqa: LOG001
        self.access = logging.Logger(logs.ACCESS_LOGGER)  # noqa: LOG001
        for logger in (self.server, self.access):
            logger.setLevel(logging.INFO)
            logger.addHandler(handler)
        self.access.addFilter(logs.RootAccessFilter())

    @property
    def text(self) -> str:
        """Everything written so far."""
        return self._text.getvalue()

    def take(self) -> str:
        """Return what was written, and forget it."""
        text = self._text.getvalue()
        self._text.seek(0)
        self._text.truncate()
        return text

    def listen_elsewhere(self) -> None:
        """Have both loggers listened to by somebody else too, so that lines must go through `logging`."""
        for logger in (self.server, self.access):
            logger.addHandler(logging.NullHandler())

    def is_direct(self) -> bool:
        """Return whether lines may be written without `logging`."""
        direct = {logs.line_handler(logger) is not None for logger in (self.server, self.access)}
        assert len(direct) == 1
        return direct.pop()


@pytest.fixture
def console(monkeypatch: pytest.MonkeyPatch) -> Console:
    """The console of the module's loggers, which are not those of the process: pytest listens to them."""
    console = Console()
    monkeypatch.setattr(access_log, "_SERVER", console.server)
    monkeypatch.setattr(access_log, "_ACCESS", console.access)
    return console


def request_log(timer: Timer | None = None) -> RequestLog:
    """Return a log whose clock stands still."""
    return RequestLog(logs.LineClock(lambda: NOW), timer)


def both_paths(console: Console, write: Callable[[RequestLog], None]) -> tuple[str, str]:
    """Return what is written directly and what is written through `logging`, times replaced by `T`."""
    assert console.is_direct()
    write(request_log())
    direct = console.take()
    console.listen_elsewhere()
    assert not console.is_direct()
    write(request_log())
    through_logging = console.take()
    return CLOCK.sub("T", STAMP.sub("T ", direct)), CLOCK.sub("T", STAMP.sub("T ", through_logging))


def basic(user: bytes) -> str:
    """Return the value of an Authorization header (RFC 7617)."""
    return "Basic " + base64.b64encode(user).decode()


REQUESTS = {
    "plain": request("GET", "/score"),
    "query": request("POST", "/score?a=1&b=%0A"),
    "agent": request("POST", "/score", user_agent="curl/8.0 (a; b)", referer="http://a.test/x?y"),
    "empty fields": request("POST", "/score", user_agent="", referer=""),
    "user": request("POST", "/score", authorization=basic(b"joe:secret")),
    "user alone": request("POST", "/score", authorization=basic(b"joe")),
    "no user": request("POST", "/score", authorization=basic(b":secret")),
    "bearer": request("POST", "/score", authorization="Bearer abc"),
    "not base64": request("POST", "/score", authorization="Basic a"),
    "not utf-8": request("POST", "/score", authorization=basic(b"\xff\xfe:x")),
    "percent": request("POST", "/score?%s%d%(x)s", user_agent="%s"),
    "accents": request("POST", "/score", user_agent="caf\xe9"),
    "probe": request("GET", "/"),
    "probe with a query": request("GET", "/?x=1"),
    "hostile": request("POST", "/score", user_agent='x"\x85\x9b31m\t', referer="a\r\nb\x00\x1b[2J"),
}


@pytest.mark.parametrize("name", REQUESTS)
def test_both_paths_write_the_same_access_line(console: Console, name: str) -> None:
    """The access line is the same, or left out the same, whoever writes it."""
    direct, through_logging = both_paths(console, lambda log: log.access_line(REQUESTS[name], 200, 5))
    assert direct == through_logging
    assert bool(direct) is (name != "probe")


@pytest.mark.parametrize("name", REQUESTS)
def test_both_paths_write_the_same_server_line(console: Console, name: str) -> None:
    """The server's own line is the same, whoever writes it."""
    response = Response(200, b"12345")
    direct, through_logging = both_paths(console, lambda log: log.server_line(REQUESTS[name], response, 1.0))
    assert direct == through_logging != ""


def test_access_line(console: Console) -> None:
    """The access line has gunicorn's default format, behind the release's start of a line."""
    asked = request("POST", "/score?a=1", user_agent="curl/8.0", referer="http://a.test", authorization=basic(b"joe:x"))
    request_log().access_line(asked, 201, 17)
    clock = CLOCK.search(console.text)
    assert clock is not None
    assert console.text == (
        f"2001-09-09 01:46:40,250 I [{os.getpid()}] gunicorn.access - "
        f'{CLIENT[0]} - joe {clock[0]} "POST /score?a=1 HTTP/1.1" 201 17 "http://a.test" "curl/8.0"\n'
    )


def test_server_line(console: Console) -> None:
    """The server's own line has method, path, status, time and length, as in release 1.5.1."""
    request_log().server_line(request("POST", "/score?a=1"), Response(200, b"12345"), 12.3456)
    expected = f"2001-09-09 01:46:40,250 I [{os.getpid()}] azmlinfsrv - POST /score?a=1 200 12.346ms 5\n"
    assert console.text == expected


def test_the_length_of_a_stream_is_not_known(console: Console) -> None:
    """The line of a stream is written when it begins, so it has no length."""
    request_log().server_line(request("POST", "/score"), Response(200, b"", [], iter([b"x"])), 1.0)
    assert console.text.endswith(" - POST /score 200 1.000ms N/A\n")


HOSTILE = [
    '" 200 0 "-" "-"',
    "\n2001-09-09 01:46:40,250 I [1] azmlinfsrv - forged",
    "\r\nforged",
    "\x1b[31mred",
    "\x00nul",
    "\x7fdel",
    "\x85next line",
    "\x9bcsi",
    "\xadsoft hyphen",
]


@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize("through_logging", [False, True])
@pytest.mark.parametrize("where", ["target", "user-agent", "referer", "user", "path"])
def test_lines_cannot_be_forged(console: Console, text: str, through_logging: bool, where: str) -> None:
    """What a client sends stays within its line and its field, without control characters."""
    if through_logging:
        console.listen_elsewhere()
    asked = request("POST", "/score")
    if where == "target":
        asked.target += text.encode("latin-1")
    elif where == "path":
        asked.path, asked.query = "/score" + text, text.encode("latin-1")
    elif where == "user":
        asked.headers[b"authorization"] = basic(text.encode()).encode()
    else:
        asked.headers[where.encode()] = text.encode("latin-1")
    log = request_log()
    log.access_line(asked, 200, 5)
    log.server_line(asked, Response(200, b"12345"), 1.0)
    lines = console.text.split("\n")
    assert len(lines) == 3 and lines[2] == ""
    for line in lines[:2]:
        assert re.search(r"[\x00-\x1f\x7f-\x9f]", line) is None
    assert lines[0].count('"') - lines[0].count('\\"') == 6


@pytest.mark.parametrize("through_logging", [False, True])
@pytest.mark.parametrize(
    ("method", "target", "version", "left_out"),
    [
        ("GET", "/", "1.1", True),
        ("GET", "/", "1.0", False),
        ("HEAD", "/", "1.1", False),
        ("GET", "/live", "1.1", False),
        ("GET", "/?probe", "1.1", False),
    ],
)
def test_probes_are_left_out(
    console: Console, through_logging: bool, method: str, target: str, version: str, left_out: bool
) -> None:
    """The access lines of `GET /` are left out by the filter, as in release 1.5.1; no others are."""
    if through_logging:
        console.listen_elsewhere()
    asked: Request = request(method, target)
    asked.version = version
    request_log().access_line(asked, 200, 7)
    assert (console.text == "") is left_out


def test_probes_are_logged_without_the_filter(console: Console) -> None:
    """A logging.json without the filter gets the lines of probes."""
    console.access.filters = []
    request_log().access_line(request("GET", "/"), 200, 7)
    assert '"GET / HTTP/1.1" 200 7' in console.text


def test_lines_are_written_in_batches(console: Console) -> None:
    """Lines wait a moment for others: one write for all, scheduled once."""
    timer = Timer()
    log = request_log(timer)
    for status in (200, 201, 202):
        log.access_line(request("GET", "/score"), status, 1)
    assert console.text == ""
    ((seconds, write),) = timer.calls
    assert seconds == BATCH_S
    write()
    assert re.findall(r'HTTP/1.1" (\d+)', console.text) == ["200", "201", "202"]
    log.access_line(request("GET", "/score"), 203, 1)
    assert len(timer.calls) == 2


@pytest.mark.parametrize(("run_s", "early"), [(0.0, False), (0.0005, False), (0.002, True)])
def test_lines_are_written_before_a_long_call(console: Console, run_s: float, early: bool) -> None:
    """Where ``run()`` takes long, lines do not wait until it may be at work again, and nothing is left to wake for."""
    timer = Timer()
    log = request_log(timer)
    log.before_run()
    asked = request("POST", "/score")
    asked.run_s = run_s
    log.server_line(asked, Response(200), 1.0)
    log.before_run()
    assert (("POST /score 200" in console.text), not timer.calls) == (early, early)
    log.server_line(request("POST", "/score"), Response(201), 1.0)
    log.before_run()
    ((_, write),) = timer.calls
    assert "POST /score 201" not in console.text
    write()
    assert "POST /score 201" in console.text


def test_records_do_not_overtake_lines(console: Console) -> None:
    """A record of anybody's is written after the lines that wait."""
    log = request_log(Timer())
    log.access_line(request("GET", "/score"), 200, 1)
    console.access.info("of somebody else")
    first, second = console.text.splitlines()
    assert "GET /score" in first and second.endswith("of somebody else")


class Listener(logging.Handler):
    """A handler of the user's that keeps its records."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a record."""
        self.records.append(record)


def test_a_user_who_listens_gets_records(console: Console) -> None:
    """A handler of the user's on the same logger gets each line as a record, whole."""
    listener = Listener()
    console.access.addHandler(listener)
    request_log(Timer()).access_line(request("POST", "/score?%s"), 200, 1)
    (record,) = listener.records
    assert record.levelno == logging.INFO
    assert "POST /score?%s" in record.getMessage()
    assert "POST /score?%s" in console.text


def test_a_higher_level_writes_nothing(console: Console) -> None:
    """Lines of requests are of level INFO."""
    for logger in (console.server, console.access):
        logger.setLevel(logging.WARNING)
    log = request_log()
    log.access_line(request("POST", "/score"), 200, 1)
    log.server_line(request("POST", "/score"), Response(200), 1.0)
    assert console.text == ""
