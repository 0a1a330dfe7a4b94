"""Records as the server makes them."""

from __future__ import annotations

from typing import Any

from azmlinfsrv.telemetry.records import (
    ExceptionRecord,
    Failure,
    LogLine,
    Origin,
    PrintedLine,
    RequestRecord,
    Service,
)

TRACEPARENT = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
SERVICE = Service("my service", "my workspace", "my container", ["model:1", "other:2"], "my machine", "1.2.3")
ORIGIN = Origin("request-1", "client-1", 12.5, TRACEPARENT, b"a=b", "/score")
START_NS = 1_700_000_000_123_456_789
FAILURE = Failure("ValueError", "no such thing", "Traceback …", (("score.py", 7, "run"), ("lib.py", 3, "deep")))


def request(**changes: Any) -> RequestRecord:
    """Return the record of a successful request."""
    record = RequestRecord(
        origin=ORIGIN,
        method="POST",
        path="/score",
        target=b"/score?verbose=1",
        scheme="http",
        host="example.org:5001",
        client="192.0.2.1",
        user_agent=b"agent/1",
        version="1.1",
        route="/score",
        status=200,
        start_ns=START_NS,
        duration_ns=90_061_001_002_003,
        run_ms=1.25,
        response=b'{"got": 1}',
        is_cut=False,
        sent_bytes=10,
        outcome="",
        body=b'{"data": 1}',
        is_text=True,
    )
    return record._replace(**changes)


def printed(**changes: Any) -> PrintedLine:
    """Return the record of a printed line."""
    return PrintedLine(START_NS, "stdout", "request-1", "hello", ORIGIN)._replace(**changes)


def log_line(**changes: Any) -> LogLine:
    """Return the record of a log line."""
    return LogLine(START_NS, 30, "my.logger", "beware", ("score.py", 5, "run"), None, ORIGIN)._replace(**changes)


def exception(**changes: Any) -> ExceptionRecord:
    """Return the record of an exception."""
    return ExceptionRecord(START_NS, FAILURE, ORIGIN)._replace(**changes)
