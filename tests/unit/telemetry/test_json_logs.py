"""Log lines as JSON objects."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator
from typing import Any

import pytest

from azmlinfsrv.identity import RequestIds
from azmlinfsrv.logs import FIELDS, REQUEST
from azmlinfsrv.messages import Request
from azmlinfsrv.telemetry import current
from azmlinfsrv.telemetry.json_logs import JsonFormatter
from tests.unit.telemetry.samples import TRACEPARENT


def request(**headers: bytes) -> Request:
    """Return a request with ids."""
    given = {name.encode(): value for name, value in headers.items()}
    made = Request("POST", b"/score", "/score", b"", given, b"", "1.1", ("127.0.0.1", 1), 1.0)
    made.ids = RequestIds("the-id", "the-id", "client")
    return made


@pytest.fixture(autouse=True)
def _outside() -> Iterator[None]:
    """Each test begins and ends outside of requests."""
    current.leave()
    yield
    current.leave()


def formatted(message: str = "hello %s", **extra: Any) -> dict[str, Any]:
    """Return the object of a record."""
    arguments = ("you",) if "%s" in message else ()
    record = logging.LogRecord("my.logger", logging.WARNING, "score.py", 3, message, arguments, extra.pop("exc", None))
    record.__dict__.update(extra)
    line = JsonFormatter().format(record)
    assert "\n" not in line
    content: dict[str, Any] = json.loads(line)
    return content


def test_the_fields_of_a_line() -> None:
    """A line has time, level, logger, process and message; outside of requests it has no ids."""
    content = formatted()
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", content.pop("time"))
    assert isinstance(content.pop("process"), int)
    assert content == {"level": "WARNING", "logger": "my.logger", "message": "hello you"}


def test_the_ids_of_a_request() -> None:
    """Within a request a line has its ids: the caller's trace, where there is one."""
    current.enter(request(traceparent=TRACEPARENT))
    content = formatted()
    assert (content["request_id"], content["client_request_id"]) == ("the-id", "client")
    assert content["trace_id"] == "0af7651916cd43dd8448eb211c80319c"
    assert re.fullmatch("[0-9a-f]{16}", content["span_id"])


def test_a_line_about_a_request() -> None:
    """What the record carries wins over what the calling code works on, and its fields stand beside the ids."""
    extra: dict[str, Any] = {REQUEST: request(), FIELDS: {"status": 200, "path": "/score"}}
    content = formatted(**extra)
    assert (content["request_id"], content["status"], content["path"]) == ("the-id", 200, "/score")
    assert re.fullmatch("[0-9a-f]{32}", content["trace_id"])


@pytest.mark.parametrize("message", ["two\nlines", 'quo"te', "ünï\u2028", "\ud800", "\x00\x1b"])
def test_odd_messages(message: str) -> None:
    """Whatever is in a message, a line is one JSON object on one line."""
    assert formatted(message=message)["message"] == message.replace("\ud800", "\\ud800")


def test_exceptions() -> None:
    """An exception has its traceback."""
    error = ValueError("no")
    content = formatted(exc=(ValueError, error, None))
    assert content["exception"].endswith("ValueError: no")


def test_what_cannot_be_shown_is_escaped() -> None:
    """A line holds nothing that a terminal would act on, and says what was logged all the same."""
    text = "a\n\x1b[31m\x7f\x9b\u2028\u202e\U000e0001 caf\xe9"
    record = logging.LogRecord("own", logging.INFO, "", 0, "%s", (text,), None)
    line = JsonFormatter().format(record)
    assert line.isprintable() and "caf\xe9" in line
    assert json.loads(line)["message"] == text
