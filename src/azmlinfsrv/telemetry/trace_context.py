"""W3C Trace Context: which trace a request belongs to, and the id of its own span.

Source: Trace Context, https://www.w3.org/TR/trace-context/, section 3.2.
"""

from __future__ import annotations

import re
from hashlib import blake2b
from typing import NamedTuple

from azmlinfsrv.telemetry.records import Origin

_TRACEPARENT = re.compile(rb"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?\Z", re.DOTALL)
_SAMPLED = 1


class SpanIds(NamedTuple):
    """The ids of a request's span, in hexadecimal.

    Attributes:
        trace_id: 32 digits.
        span_id: 16 digits.
        parent_id: id of the caller's span, or "".
        sampled: whether the caller records the trace; True where there is no caller.
    """

    trace_id: str
    span_id: str
    parent_id: str
    sampled: bool


def span_ids(origin: Origin) -> SpanIds:
    """Return the ids of a request's span: always the same for a request, on whatever thread it is asked."""
    seed = f"{origin.request_id} {origin.received!r}".encode("utf-8", "surrogatepass")
    made = blake2b(seed, digest_size=24).hexdigest()
    parent = parse_traceparent(origin.traceparent)
    if parent is None:
        return SpanIds(made[:32], made[32:], "", True)
    trace_id, parent_id, sampled = parent
    return SpanIds(trace_id, made[32:], parent_id, sampled)


def parse_traceparent(value: bytes) -> tuple[str, str, bool] | None:
    """Return trace id, parent id and whether the caller records, or None where the header is not valid."""
    match = _TRACEPARENT.match(value.strip()) if value else None
    if match is None:
        return None
    version, trace_id, parent_id, flags, more = match.groups()
    if version == b"ff" or (version == b"00" and more) or not trace_id.strip(b"0") or not parent_id.strip(b"0"):
        return None
    return trace_id.decode(), parent_id.decode(), bool(int(flags, 16) & _SAMPLED)
