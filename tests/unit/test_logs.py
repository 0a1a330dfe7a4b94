"""Lines of the log: their formats, their order, their levels, and the user's own configuration."""

from __future__ import annotations

import email.utils
import io
import json
import logging
import logging.handlers
import os
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from azmlinfsrv import logs
from azmlinfsrv.logs import AMLLogFormatter, LineClock, LineHandler, RootAccessFilter

FOUR_O_CLOCK = 1_700_000_000.25  # 2023-11-14 22:13:20.250 UTC
TEXT = "2023-11-14 22:13:20,250"


@pytest.fixture(autouse=True)
def _isolated(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Undo whatever a test does to `logging`, and keep it from closing other handlers."""
    monkeypatch.setattr(logging, "_handlerList", [])
    monkeypatch.setattr(logging, "_handlers", weakref.WeakValueDictionary())
    manager = logging.root.manager
    loggers = [logging.root, *(each for each in manager.loggerDict.values() if isinstance(each, logging.Logger))]
    before = [(each, each.level, each.handlers[:], each.filters[:], each.propagate, each.disabled) for each in loggers]
    yield
    known = {each.name for each in loggers}
    for name, each in manager.loggerDict.items():
        if isinstance(each, logging.Logger) and name not in known:
            before.append((each, logging.NOTSET, [], [], True, False))
    for each, level, handlers, filters, propagate, disabled in before:
        each.handlers[:], each.filters[:] = handlers, filters
        each.propagate, each.disabled = propagate, disabled
        each.setLevel(level)


@pytest.fixture
def zone(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """A function that sets the local time zone."""

    def set_zone(name: str) -> None:
        monkeypatch.setenv("TZ", name)
        time.tzset()

    yield set_zone
    monkeypatch.undo()
    time.tzset()


def record(message: str = "hello", level: int = logging.INFO, name: str = "azmlinfsrv") -> logging.LogRecord:
    """Return a record of a known time."""
    made = logging.LogRecord(name, level, "", 0, message, None, None)
    made.created, made.msecs = FOUR_O_CLOCK, 250.0
    return made


# -- Formats ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["UTC", "America/New_York", "Asia/Kolkata"])
def test_a_line_is_in_the_released_format_and_utc(zone: Callable[[str], None], name: str) -> None:
    """Time in UTC, first letter of the level, process, logger and message, wherever the server runs."""
    zone(name)
    assert AMLLogFormatter().format(record()) == f"{TEXT} I [{os.getpid()}] azmlinfsrv - hello"


@pytest.mark.parametrize(
    ("level", "letter"),
    [
        (logging.DEBUG, "D"),
        (logging.INFO, "I"),
        (logging.WARNING, "W"),
        (logging.ERROR, "E"),
        (logging.CRITICAL, "C"),
    ],
)
def test_levels_are_letters(level: int, letter: str) -> None:
    """The level stands as its first letter."""
    assert AMLLogFormatter().format(record(level=level)).split()[2] == letter


def test_the_formatter_takes_what_a_user_gives() -> None:
    """Format, date format and style of a user's logging.json are honoured, still in UTC."""
    assert AMLLogFormatter("%(asctime)s|%(message)s", "%H:%M").format(record()) == "22:13|hello"
    assert AMLLogFormatter("{levelname} {message}", None, "{").format(record()) == "INFO hello"


@pytest.mark.parametrize(
    ("message", "kept"),
    [
        ('127.0.0.1 - - [x] "GET / HTTP/1.1" 200 7 "-" "probe"', False),
        ('127.0.0.1 - - [x] "GET / HTTP/1.0" 200 7 "-" "probe"', True),
        ('127.0.0.1 - - [x] "GET /score HTTP/1.1" 200 7 "-" "probe"', True),
        ('127.0.0.1 - - [x] "GET /?a HTTP/1.1" 200 7 "-" "probe"', True),
        ('127.0.0.1 - - [x] "POST / HTTP/1.1" 405 7 "-" "probe"', True),
    ],
)
def test_probes_are_left_out(message: str, kept: bool) -> None:
    """The access log has no line for a health probe, and one for everything else."""
    assert RootAccessFilter().filter(record(message)) is kept


# -- The configuration of the package --------------------------------------------------------------------------------


def test_own_configuration(capsys: pytest.CaptureFixture[str]) -> None:
    """The server's own log and the access log go to stdout, the error log to stderr, probes nowhere."""
    logs.load(logs.PACKAGE)
    capsys.readouterr()
    logging.getLogger("azmlinfsrv").info("one")
    logging.getLogger("azmlinfsrv.user_script").info("two")
    logging.getLogger("azmlinfsrv").debug("not this")
    logging.getLogger("gunicorn.access").info("three")
    logging.getLogger("gunicorn.access").info('"GET / HTTP/1.1"')
    logging.getLogger("gunicorn.error").info("four")

    out, err = capsys.readouterr()
    head = f" I [{os.getpid()}] "
    assert [line.partition(head)[2] for line in out.splitlines()] == [
        "azmlinfsrv - one",
        "azmlinfsrv.user_script - two",
        "gunicorn.access - three",
    ]
    assert [line.partition(head)[2] for line in err.splitlines()] == ["gunicorn.error - four"]


def test_other_loggers_go_on() -> None:
    """Loggers that were there before, such as those of a process that is not ours alone, are left as they are."""
    other = logging.getLogger("somebody.else")
    logs.load(logs.PACKAGE)
    assert not other.disabled


def test_lines_may_be_gathered_with_the_own_configuration() -> None:
    """With the package's configuration each logger's lines may be written in batches."""
    logs.load(logs.PACKAGE)
    logging.root.handlers.clear()
    for name in (logs.LOGGER, logs.ACCESS_LOGGER, logs.ERROR_LOGGER):
        assert logs.line_handler(logging.getLogger(name)) in logs.line_handlers()
    assert len(logs.line_handlers()) == 3


# -- The configuration of the user -----------------------------------------------------------------------------------


def write_config(folder: Path) -> None:
    """Write a logging.json whose handler keeps what it gets."""
    config = {
        "version": 1,
        "handlers": {"own": {"class": "logging.handlers.BufferingHandler", "capacity": 100}},
        "loggers": {"azmlinfsrv": {"level": "INFO", "handlers": ["own"]}},
    }
    folder.mkdir()
    (folder / "logging.json").write_text(json.dumps(config))


def applied() -> list[str]:
    """Return the paths that the log says were loaded."""
    (handler,) = logging.getLogger("azmlinfsrv").handlers
    assert isinstance(handler, logging.handlers.BufferingHandler)
    return [each.getMessage().removeprefix("Loaded logging config from ") for each in handler.buffer]


def test_the_app_root_comes_first(tmp_path: Path) -> None:
    """The logging.json of the app root is applied, and the one beside the script is not looked at."""
    write_config(tmp_path / "root")
    write_config(tmp_path / "script")
    logs.configure(str(tmp_path / "root"), str(tmp_path / "script"), None)
    assert applied() == [str(tmp_path / "root" / "logging.json")]


def test_then_the_folder_of_the_script(tmp_path: Path) -> None:
    """Without one in the app root, the logging.json beside the entry script is applied."""
    (tmp_path / "root").mkdir()
    write_config(tmp_path / "script")
    logs.configure(str(tmp_path / "root"), str(tmp_path / "script"), None)
    assert applied() == [str(tmp_path / "script" / "logging.json")]


@pytest.mark.parametrize("script_folder", [None, "nowhere"])
def test_without_any_nothing_changes(tmp_path: Path, script_folder: str | None) -> None:
    """Where there is no logging.json, the loggers stay as they are."""
    before = logging.getLogger("azmlinfsrv").handlers[:]
    logs.configure(str(tmp_path), script_folder, None)
    assert logging.getLogger("azmlinfsrv").handlers == before


def test_classes_of_the_released_server_in_a_user_file(tmp_path: Path) -> None:
    """A logging.json that names the released server's formatter and filter works."""
    config = {
        "version": 1,
        "formatters": {"f": {"class": "azureml_inference_server_http.log_config.AMLLogFormatter"}},
        "filters": {"p": {"()": "azureml_inference_server_http.log_config.RootAccessFilter"}},
        "handlers": {
            "h": {
                "class": "logging.FileHandler",
                "filename": str(tmp_path / "own.log"),
                "formatter": "f",
                "filters": ["p"],
                "delay": True,
            }
        },
        "loggers": {"gunicorn.access": {"level": "INFO", "handlers": ["h"], "propagate": False}},
    }
    (tmp_path / "logging.json").write_text(json.dumps(config))
    logs.configure(str(tmp_path), None, None)
    logger = logging.getLogger("gunicorn.access")
    (handler,) = logger.handlers
    logger.info('"GET / HTTP/1.1"')
    logger.info('"GET /score HTTP/1.1"')
    handler.close()
    assert isinstance(handler.formatter, AMLLogFormatter)
    assert (tmp_path / "own.log").read_text() == '"GET /score HTTP/1.1"\n'


@pytest.mark.parametrize(
    "text", ["{", "[]", '{"version": 2}', '{"version": 1, "handlers": {"h": {"class": "no.such.Class"}}}']
)
def test_a_file_that_cannot_be_used(tmp_path: Path, text: str) -> None:
    """A logging.json that is no JSON or no configuration is an error, not silently passed over."""
    (tmp_path / "logging.json").write_text(text)
    with pytest.raises((ValueError, AttributeError, TypeError)):
        logs.configure(str(tmp_path), None, None)


# -- Levels ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("level", ["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"])
@pytest.mark.parametrize("name", ["azmlinfsrv", "azmlinfsrv.print", "gunicorn.access", "gunicorn.error"])
def test_the_level_is_that_of_the_loggers(name: str, level: str, capsys: pytest.CaptureFixture[str]) -> None:
    """AZUREML_LOG_LEVEL lets through what is as important, and nothing less."""
    logs.load(logs.PACKAGE)
    logs.configure("", None, level)
    capsys.readouterr()
    number = logging.getLevelName(level)
    logging.getLogger(name).log(number, "important")
    logging.getLogger(name).log(number - 10, "unimportant")
    assert [line[-9:] for line in "".join(capsys.readouterr()).splitlines()] == ["important"]


def test_without_a_level_the_file_decides(tmp_path: Path) -> None:
    """The level of a user's logging.json stands where AZUREML_LOG_LEVEL is not set, and yields where it is."""
    (tmp_path / "logging.json").write_text('{"version": 1, "loggers": {"azmlinfsrv": {"level": "ERROR"}}}')
    logs.configure(str(tmp_path), None, None)
    assert logging.getLogger("azmlinfsrv").level == logging.ERROR
    logs.configure(str(tmp_path), None, "DEBUG")
    assert logging.getLogger("azmlinfsrv").level == logging.DEBUG


def test_an_error_of_the_configuration_is_framed(caplog: pytest.LogCaptureFixture) -> None:
    """A setting that cannot be used is logged in the released server's frame."""
    logs.log_configuration_error(ValueError("the reason"))
    (found,) = caplog.records
    assert found.levelno == logging.CRITICAL
    assert found.getMessage() == (
        "\n"
        "===============Configuration Error=================\n"
        "the reason\n"
        "==================================================="
    )


# -- Lines that wait -------------------------------------------------------------------------------------------------


class Stream(io.StringIO):
    """A stream that counts its writes, and can be broken."""

    def __init__(self) -> None:
        super().__init__()
        self.writes: list[str] = []
        self.error: Exception | None = None

    def write(self, text: str) -> int:
        """Take text, or fail."""
        if self.error is not None:
            raise self.error
        self.writes.append(text)
        return super().write(text)


def test_lines_are_written_at_once() -> None:
    """Lines wait for `write_lines`, which writes all of them in one go, and nothing the next time."""
    stream = Stream()
    handler = LineHandler(stream)
    for line in ("a\n", "b\n", "c\n"):
        handler.add_line(line)
    assert stream.writes == []
    handler.write_lines()
    handler.write_lines()
    assert stream.writes == ["a\nb\nc\n"]


def test_a_record_does_not_overtake_lines() -> None:
    """A record of `logging` is written after the lines that were there before it."""
    stream = Stream()
    handler = LineHandler(stream)
    handler.add_line("first\n")
    handler.handle(record("second"))
    handler.add_line("third\n")
    handler.write_lines()
    assert stream.getvalue() == "first\nsecond\nthird\n"


@pytest.mark.parametrize("error", [OSError("disk full"), ValueError("closed")])
def test_a_broken_stream_breaks_nothing(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    """A console that cannot be written to costs lines, which are counted, no request; the cause is shown once."""
    stream, complaints = Stream(), io.StringIO()
    monkeypatch.setattr(sys, "stderr", complaints)
    handler = LineHandler(stream)
    stream.error = error
    for _ in range(3):
        handler.add_line("lost\n")
        handler.write_lines()
    if isinstance(error, OSError):
        handler.handle(record("lost, too"))
    stream.error = None
    handler.handle(record("found"))
    handler.add_line("again\n")
    handler.write_lines()
    count = 4 if isinstance(error, OSError) else 3
    lost = f"Lines of the log that could not be written before, and are lost: {count}\n"
    assert stream.getvalue() == f"{lost}found\nagain\n"
    assert complaints.getvalue().count(str(error)) == 1


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_a_line_that_the_console_cannot_encode_costs_no_other(encoding: str) -> None:
    """Of lines that are written together, what the console cannot encode is escaped, and all else is as it was."""
    written = io.BytesIO()
    handler = LineHandler(io.TextIOWrapper(written, encoding, newline="\n"))
    for line in ("first\n", "/\u65e5\ud800\n", "third\n"):
        handler.add_line(line)
    handler.write_lines()
    assert written.getvalue() == b"first\n/\\u65e5\\ud800\nthird\n"


def raising(record: logging.LogRecord) -> bool:
    """Fail, as a filter of the user's may."""
    raise LookupError(f"no such field in {record.msg}")


def test_a_filter_that_raises_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a filter raises is on the console, with its message, and not raised where a request depends on it."""
    complaints = io.StringIO()
    monkeypatch.setattr(sys, "stderr", complaints)
    logger = logging.Logger("test")  # noqa: LOG001 - one that nobody else has
    logger.addFilter(raising)
    logs.write(logger, logging.INFO, "line %s", "one")
    assert "LookupError: no such field in line %s" in complaints.getvalue()


def test_lines_and_records_of_two_threads_are_all_written() -> None:
    """Nothing is lost or torn where one thread adds lines and another logs."""
    stream = Stream()
    handler = LineHandler(stream)

    def log() -> None:
        for number in range(2000):
            handler.handle(record(f"record {number}"))

    thread = threading.Thread(target=log)
    thread.start()
    for number in range(2000):
        handler.add_line(f"line {number}\n")
        if number % 3 == 0:
            handler.write_lines()
    thread.join()
    handler.write_lines()
    written = stream.getvalue().splitlines()
    assert [line for line in written if line.startswith("line")] == [f"line {number}" for number in range(2000)]
    assert [line for line in written if line.startswith("record")] == [f"record {number}" for number in range(2000)]


# -- Whether lines may be gathered -----------------------------------------------------------------------------------


class Listening:
    """A logger to which nothing but one handler of ours listens."""

    def __init__(self) -> None:
        self.parent = logging.getLogger("core-parent")
        self.parent.propagate = False
        self.logger = logging.getLogger("core-parent.child")
        self.logger.setLevel(logging.INFO)
        self.handler = LineHandler(io.StringIO())
        self.handler.setFormatter(AMLLogFormatter())
        self.logger.addHandler(self.handler)


def _end_at_the_logger(listening: Listening) -> None:
    listening.logger.propagate = False
    listening.parent.addHandler(logging.NullHandler())


def _leave_the_level_to_the_parent(listening: Listening) -> None:
    listening.logger.setLevel(logging.NOTSET)
    listening.parent.setLevel(logging.ERROR)


def _listen_at_the_root(listening: Listening) -> None:
    listening.parent.propagate = True
    logging.root.addHandler(logging.NullHandler())


def test_whole_lines_are_taken() -> None:
    """Where only our handler listens, lines go to it."""
    listening = Listening()
    assert logs.line_handler(listening.logger) is listening.handler


@pytest.mark.parametrize(
    "change",
    [
        lambda each: each.logger.addFilter(RootAccessFilter()),
        lambda each: each.logger.setLevel(logging.DEBUG),
        lambda each: each.handler.setLevel(logging.INFO),
        _end_at_the_logger,
        lambda each: each.parent.addFilter(lambda _: False),
    ],
    ids=["probes", "debug", "handler-info", "no-propagation", "filter-of-parent"],
)
def test_whole_lines_are_still_taken(change: Callable[[Listening], object]) -> None:
    """What cannot change a line of level INFO does not matter."""
    listening = Listening()
    change(listening)
    assert logs.line_handler(listening.logger) is listening.handler


@pytest.mark.parametrize(
    "change",
    [
        lambda each: each.logger.removeHandler(each.handler),
        lambda each: each.logger.addHandler(logging.NullHandler()),
        lambda each: each.logger.setLevel(logging.WARNING),
        _leave_the_level_to_the_parent,
        lambda each: setattr(each.logger, "disabled", True),
        lambda each: each.logger.handlers.__setitem__(0, logging.StreamHandler(io.StringIO())),
        lambda each: each.logger.handlers.__setitem__(0, type("Own", (LineHandler,), {})(io.StringIO())),
        lambda each: each.handler.setFormatter(None),
        lambda each: each.handler.setFormatter(logging.Formatter(logs.FORMAT)),
        lambda each: each.handler.setFormatter(type("Own", (AMLLogFormatter,), {})()),
        lambda each: each.handler.setFormatter(AMLLogFormatter("%(message)s")),
        lambda each: each.handler.setFormatter(AMLLogFormatter(datefmt="%H")),
        lambda each: each.handler.addFilter(lambda _: True),
        lambda each: each.handler.setLevel(logging.WARNING),
        lambda each: each.logger.addFilter(lambda _: True),
        lambda each: each.logger.filters.extend([RootAccessFilter(), logging.Filter()]),
        lambda each: each.parent.addHandler(logging.NullHandler()),
        _listen_at_the_root,
    ],
    ids=[
        "no-handler",
        "two-handlers",
        "warning",
        "warning-of-parent",
        "disabled",
        "other-handler",
        "handler-of-the-user",
        "no-formatter",
        "other-formatter",
        "formatter-of-the-user",
        "other-format",
        "other-date",
        "filter-of-handler",
        "handler-warning",
        "filter",
        "two-filters",
        "handler-of-parent",
        "handler-of-root",
    ],
)
def test_logging_decides_elsewhere(change: Callable[[Listening], object]) -> None:
    """Where anything else listens, filters or formats, each line goes through `logging`."""
    listening = Listening()
    change(listening)
    assert logs.line_handler(listening.logger) is None


def test_logging_that_is_disabled_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    """`logging.disable` is honoured."""
    listening = Listening()
    monkeypatch.setattr(logging.root.manager, "disable", logging.INFO)
    assert logs.line_handler(listening.logger) is None


# -- The clock of lines ----------------------------------------------------------------------------------------------


@settings(deadline=None)
@given(st.floats(0, 4_000_000_000))
def test_a_line_starts_as_the_formatter_starts_it(now: float) -> None:
    """Lines that are formatted by hand are the lines that `logging` would have made."""
    made = logging.LogRecord("n", logging.INFO, "", 0, "m", None, None)
    made.created, made.msecs = now, float(int(now * 1000) % 1000)
    assert LineClock(lambda: now).prefix() + "n - m" == AMLLogFormatter().format(made)


@settings(deadline=None)
@given(st.integers(0, 4_000_000_000))
def test_the_date_field(second: int) -> None:
    """The Date of an answer is an IMF-fixdate (RFC 9110, 5.6.7)."""
    assert LineClock(lambda: second + 0.9).http_date() == email.utils.formatdate(second, usegmt=True)


def test_times_move_on() -> None:
    """Each time is that of now, whichever was asked for before."""
    now = FOUR_O_CLOCK
    clock = LineClock(lambda: now)
    assert clock.prefix().startswith(TEXT)
    now += 1
    assert clock.http_date().endswith("22:13:21 GMT")
    assert clock.prefix().startswith("2023-11-14 22:13:21,250")
    now += 0.5
    assert clock.prefix().startswith("2023-11-14 22:13:21,750")
    now += 86400
    assert clock.prefix().startswith("2023-11-15 22:13:21,750")
    assert clock.http_date() == "Wed, 15 Nov 2023 22:13:21 GMT"


def test_the_access_line_has_local_time(zone: Callable[[str], None]) -> None:
    """The access line's time is local, with its distance from UTC, as gunicorn writes it."""
    zone("Asia/Kolkata")
    clock = LineClock(lambda: FOUR_O_CLOCK)
    clock.prefix()
    assert clock.access == "[15/Nov/2023:03:43:20 +0530]"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("/score?a=caf\xe9", "/score?a=caf\xe9"),
        ("a\r\nb\tc", "a\\x0d\\x0ab\\x09c"),
        ("\x1b[31m\x9b", "\\x1b[31m\\x9b"),
        ("\u2028\u202e\U000e0001", "\\u2028\\u202e\\U000e0001"),
        ("\udc80", "\\udc80"),
    ],
)
def test_what_cannot_be_shown_is_escaped(text: str, shown: str) -> None:
    """Line ends, escape sequences and marks of direction are written as what they are."""
    assert logs.printable(text) == shown
