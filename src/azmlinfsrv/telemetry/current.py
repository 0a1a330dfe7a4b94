"""Which request the calling code works on, for what is told of it: spans, printed lines, logs."""

from __future__ import annotations

import contextvars
from collections.abc import Callable, Mapping

from azmlinfsrv.identity import RequestIds
from azmlinfsrv.messages import Request
from azmlinfsrv.telemetry.records import Origin

# Not the request itself: its body must not live as long as the threads that it started.
_Work = tuple[RequestIds, float, Mapping[bytes, bytes], str]

_work: contextvars.ContextVar[_Work | None] = contextvars.ContextVar("azmlinfsrv_work", default=None)


def enter(request: Request) -> None:
    """Say that the calling thread or task works on a request from now on."""
    _work.set((request.ids, request.received, request.headers, request.path))


def leave() -> None:
    """Say that the calling thread or task works on no request."""
    _work.set(None)


def origin() -> Origin | None:
    """Return the request on which the calling thread or task works, or None."""
    work = _work.get()
    return None if work is None else _origin(*work)


def origin_of(request: Request) -> Origin:
    """Return what ties a record to a request."""
    return _origin(request.ids, request.received, request.headers, request.path)


def carry() -> Callable[[], None]:
    """Return a function that has another thread work on the request of this one."""
    work = _work.get()

    def take() -> None:
        _work.set(work)

    return take


def _origin(ids: RequestIds, received: float, headers: Mapping[bytes, bytes], path: str) -> Origin:
    trace, state = headers.get(b"traceparent", b""), headers.get(b"tracestate", b"")
    return Origin(ids.request_id, ids.client_id, received, trace, state, path)
