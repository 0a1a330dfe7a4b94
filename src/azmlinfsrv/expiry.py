"""When requests have waited for too long: on the I/O thread, at the moment, not when their turn comes."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from typing import Any

from azmlinfsrv.admission import QUEUE_WAIT, CallLater
from azmlinfsrv.errors import BadInputError, LateError, OverloadError, RequestError
from azmlinfsrv.messages import Request

# Requests that expire within this time are looked at together, however many there are.
_TOGETHER_S = 0.005
# Ten digits are four months.
_MOST_DIGITS = 10


class Expiry:
    """Watches the requests that wait, and the deadlines of their callers.

    Args:
        waiting: the requests that wait, in the order of their coming; scoring threads take from it meanwhile.
        max_wait_ms: longest wait; 0 is any.
        deadline_header: name of the header that has a caller's deadline, or "".

    Attributes:
        header: the header's name in small letters, or nothing.
        max_wait_s: longest wait; infinite for any.
        expired: answers a request that has waited for too long, with this error.
        check_running: ends the calls of ``run()`` whose callers' deadlines have passed, and returns after how many
            seconds to check again.
    """

    def __init__(self, waiting: Mapping[Request, Any], max_wait_ms: float = 0, deadline_header: str = "") -> None:
        self.max_wait_s = max_wait_ms / 1000 if max_wait_ms else math.inf
        self.expired: Callable[[Request, RequestError], object] = _ignore
        self.check_running: Callable[[float], float] = _never
        self._waiting = waiting
        self.header = deadline_header.lower().encode("latin-1")
        self._call_later: CallLater | None = None
        self._timer: Any = None
        self._next = math.inf

    def attach(self, call_later: CallLater) -> None:
        """Say how the I/O loop calls a function after some seconds."""
        self._call_later = call_later

    def expect(self, request: Request) -> None:
        """Take note of a request that is about to wait, and of its caller's deadline.

        Raises:
            BadInputError: the header is not a number of milliseconds.
        """
        if self.header in request.headers:
            self._read_deadline(request, request.header(self.header))
        at = min(request.received + self.max_wait_s, request.deadline or math.inf)
        if at < self._next:
            self._look_at(at, time.perf_counter())

    def _read_deadline(self, request: Request, text: str) -> None:
        text = text.strip()
        if not (text.isdigit() and text.isascii() and 0 < len(text) <= _MOST_DIGITS and int(text)):
            name = self.header.decode("latin-1")
            raise BadInputError(f"The header {name} must be a whole number of milliseconds, at least 1")
        request.deadline = request.received + int(text) / 1000

    def _look_at(self, at: float, now: float) -> None:
        self._next = at
        if self._timer is not None:
            self._timer.cancel()
        if self._call_later is not None:
            self._timer = self._call_later(max(at - now, _TOGETHER_S), self._look)

    def _look(self) -> None:
        """Answer what is too late, end what runs for too long, and look again when the next may be."""
        now = time.perf_counter()
        self._next = following = math.inf
        for request in list(self._waiting):
            wait_ends = request.received + self.max_wait_s
            if request.deadline and request.deadline <= now:
                self.expired(request, LateError())
            elif wait_ends <= now:
                message = f"The request has waited for more than {self.max_wait_s * 1000:.0f} ms"
                self.expired(request, OverloadError(503, QUEUE_WAIT, message))
            else:
                following = min(following, wait_ends, request.deadline or math.inf)
        following = min(following, now + self.check_running(now))
        if following < self._next:
            self._look_at(following, now)


def _ignore(_: Request, __: RequestError) -> None:
    pass


def _never(_: float) -> float:
    return math.inf
