"""W3C Trace Context, and the ids of a request's span."""

from __future__ import annotations

import re

import pytest

from azmlinfsrv.telemetry.records import Origin
from azmlinfsrv.telemetry.trace_context import parse_traceparent, span_ids

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


def origin(traceparent: bytes = b"", request_id: str = "r", received: float = 1.0) -> Origin:
    """Return the origin of a request."""
    return Origin(request_id, "", received, traceparent, b"", "/score")


@pytest.mark.parametrize(
    ("value", "sampled"),
    [
        (f"00-{TRACE}-{PARENT}-01", True),
        (f"00-{TRACE}-{PARENT}-00", False),
        (f"00-{TRACE}-{PARENT}-03", True),
        (f" 00-{TRACE}-{PARENT}-01 ", True),
        (f"01-{TRACE}-{PARENT}-01", True),
        (f"cc-{TRACE}-{PARENT}-01-what-comes-later", True),
    ],
)
def test_valid_headers(value: str, sampled: bool) -> None:
    """Trace, parent and the sampled flag are taken over; later versions may have more (section 3.2.2)."""
    assert parse_traceparent(value.encode()) == (TRACE, PARENT, sampled)


@pytest.mark.parametrize(
    "value",
    [
        "",
        "nonsense",
        f"ff-{TRACE}-{PARENT}-01",
        f"00-{TRACE}-{PARENT}-01-more",
        f"00-{'0' * 32}-{PARENT}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE.upper()}-{PARENT}-01",
        f"00-{TRACE}-{PARENT}",
        f"00-{TRACE[:-1]}-{PARENT}-01",
        f"00-{TRACE}-{PARENT}-01, 00-{TRACE}-{PARENT}-01",
    ],
)
def test_headers_that_are_ignored(value: str) -> None:
    """A header that breaks the rules is as good as none: the request begins a trace of its own."""
    assert parse_traceparent(value.encode()) is None
    ids = span_ids(origin(value.encode()))
    assert (ids.parent_id, ids.sampled) == ("", True)
    assert re.fullmatch("[0-9a-f]{32}", ids.trace_id)


def test_ids_are_the_request_s() -> None:
    """A request has the same ids whenever they are asked for, and others than any other request's."""
    assert span_ids(origin()) == span_ids(origin())
    others = [origin(), origin(received=2.0), origin(request_id="other")]
    assert len({span_ids(each).trace_id for each in others}) == 3
    assert len({span_ids(each).span_id for each in others}) == 3


def test_a_caller_s_trace_is_joined() -> None:
    """With a valid header the trace is the caller's, the parent its span, and the span the request's own."""
    ids = span_ids(origin(f"00-{TRACE}-{PARENT}-01".encode()))
    assert (ids.trace_id, ids.parent_id, ids.sampled) == (TRACE, PARENT, True)
    assert ids.span_id == span_ids(origin()).span_id != PARENT
