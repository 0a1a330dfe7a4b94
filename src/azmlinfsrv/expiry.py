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
# The share of the longest wait that a request may expect: its turn is hardly ever too late then, and the queue is long
# enough to never run dry.
_SURE = 0.75
# Over how long the pace of answers is measured, or over half of the longest wait, where that is shorter.
_WINDOW_S = 1.0
# For how many such times, and answers, the pace is taken to be what it was.
_KEPT = 5
# Ten digits are four months.
_MOST_DIGITS = 10


class Pace:
    """How long each answer takes, from how many there were while there was always a request that waited.

    Args:
        window_s: time after which the pace is what it was within it. It is forgotten when there has been no such time
            for long, because requests that are refused for it would keep the queue too short to measure it again.

    Attributes:
        seconds: the time between two answers; 0 where it is not known yet.
    """

    def __init__(self, window_s: float) -> None:
        self.seconds = 0.0
        self._window_s = window_s
        self._since = math.inf
        self._forget_at = math.inf
        self._answers = 0

    def answered(self, is_crowded: bool) -> None:
        """Count an answer; where nobody waits behind it, there may be idle times now, which do not count."""
        if is_crowded:
            self._answers += 1
        else:
            self._since = math.inf

    def look(self, now: float) -> None:
        """Take note that a request waits."""
        if self.seconds and now > self._forget_at:
            self.seconds = 0.0
        if self._since == math.inf:
            self._since, self._answers = now, 0
        elif self._answers and now - self._since >= self._window_s:
            self.seconds = (now - self._since) / self._answers
            self._forget_at = now + _KEPT * (self._window_s + self.seconds)
            self._since, self._answers = now, 0


class Expiry:
    """Watches the requests that wait, and the deadlines of their callers.

    Args:
        waiting: the requests that wait, in the order of their coming; scoring threads take from it meanwhile.
        max_wait_ms: longest wait; 0 is any.
        deadline_header: name of the header that has a caller's deadline, or "".

    Attributes:
        header: the header's name in small letters, or nothing.
        max_wait_s: longest wait; infinite for any.
        pace: how fast those who wait have their turns.
        refused: counts a refusal and returns it.
        expired: answers a request that has waited for too long, with this error.
        check_running: ends the calls of ``run()`` whose callers' deadlines have passed, and returns after how many
            seconds to check again.
    """

    def __init__(self, waiting: Mapping[Request, Any], max_wait_ms: float = 0, deadline_header: str = "") -> None:
        self.max_wait_s = max_wait_ms / 1000 if max_wait_ms else math.inf
        self.pace = Pace(min(self.max_wait_s / 2, _WINDOW_S))
        self.refused: Callable[[OverloadError], OverloadError] = _same
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
            OverloadError: at the pace of the answers it would wait for too long.
        """
        if self.header in request.headers:
            self._read_deadline(request, request.header(self.header))
        now = time.perf_counter()
        if self.max_wait_s != math.inf:
            self.pace.look(now)
            if len(self._waiting) * self.pace.seconds > _SURE * self.max_wait_s:
                raise self.refused(self._too_long("would wait"))
        at = min(request.received + self.max_wait_s, request.deadline or math.inf)
        if at < self._next:
            self._look_at(at, now)

    def _too_long(self, verb: str) -> OverloadError:
        message = f"The request {verb} for more than {self.max_wait_s * 1000:.0f} ms"
        return OverloadError(503, QUEUE_WAIT, message)

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
                self.expired(request, self._too_long("has waited"))
            else:
                following = min(following, wait_ends, request.deadline or math.inf)
        following = min(following, now + self.check_running(now))
        if following < self._next:
            self._look_at(following, now)


def _same(error: OverloadError) -> OverloadError:
    return error


def _ignore(_: Request, __: RequestError) -> None:
    pass


def _never(_: float) -> float:
    return math.inf
