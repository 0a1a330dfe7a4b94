"""Whether a worker takes one more request: bounds of number and bytes, and what is told of refusals.

Everything here runs on the I/O thread; a refusal costs no more than its answer.
"""

from __future__ import annotations

import logging
import math
import time
from collections import Counter
from collections.abc import Callable
from typing import Any, NamedTuple

from azmlinfsrv.errors import OverloadError
from azmlinfsrv.messages import Request

logger = logging.getLogger("azmlinfsrv")

CallLater = Callable[[float, Callable[[], None]], Any]

# Why a request is refused: values of a label of the metrics.
QUEUE_FULL, QUEUE_BYTES, QUEUE_WAIT, CONCURRENCY = "queue_full", "queue_bytes", "queue_wait", "concurrency"
DEADLINE = "deadline"
REASONS = (CONCURRENCY, QUEUE_FULL, QUEUE_BYTES, QUEUE_WAIT, DEADLINE)

# Bodies up to this size are bounded by the number of requests.
COUNTED_BYTES = 4096
# A body up to this size is counted once it is there: the number of connections bounds them while they arrive.
SMALL_BODY_BYTES = 64 * 1024
# How often it is told that requests are refused, and for how long none may be until that is said to be over.
REPORT_S = 10.0
_LONGEST_RETRY_S = 3600


class Bounds(NamedTuple):
    """What a worker takes at the most.

    Attributes:
        waiting: requests that wait, besides those that ``run()`` works on.
        body_bytes: bytes of bodies that it holds.
        concurrent: requests that wait or are worked on in all workers together.
    """

    waiting: float = math.inf
    body_bytes: float = math.inf
    concurrent: float = math.inf


class Admission:
    """Counts the requests that are not answered yet and the bytes of their bodies, and refuses what is too much.

    Args:
        bounds: what is too much.
        slots: number of calls of ``run()`` at a time.
        batch: most requests that a call can have.

    What each request costs is done by the runner, which adds to the attributes itself.

    Attributes:
        pending: number of requests that were taken and whose answers are not complete.
        held_bytes: bytes of their bodies that count, and of large ones that still arrive.
        watched: from how many pending requests on `check` has to be asked for each.
        is_refusing: whether a request was refused lately.
        others: returns how many requests are pending in the other workers.
        answered: returns how many requests have been answered.
        waited_s: returns how long the request whose turn is next has waited.
        count: is told of each refusal, by its reason.
    """

    def __init__(self, bounds: Bounds = Bounds(), slots: int = 1, batch: int = 1) -> None:  # noqa: B008 - immutable
        self.pending = self.held_bytes = 0
        self._bounds = bounds
        self._slots = slots
        self._most = bounds.waiting + slots * batch
        self.watched = 0.0 if bounds.concurrent != math.inf else self._most
        self.is_refusing = False
        self.others: Callable[[], int] = _none
        self.answered: Callable[[], int] = _none
        self.waited_s: Callable[[], float] = _none
        self.count: Callable[[str], object] = _ignore
        self._refused: Counter[str] = Counter()
        self._total = 0
        self._mark = 0, 0.0
        self._call_later: CallLater | None = None

    def attach(self, call_later: CallLater) -> None:
        """Say how the I/O loop calls a function after some seconds."""
        self._call_later = call_later

    def check(self, request: Request) -> None:
        """Count the body of a request that is about to be pending.

        Raises:
            OverloadError: the request is one too many.
        """
        body_bytes = request.body_bytes if request.body_bytes > COUNTED_BYTES else 0
        self._check_worker(body_bytes)
        self._check_all()
        self.held_bytes += body_bytes

    def release(self, request: Request) -> None:
        """Count a request as no longer pending."""
        self.pending -= 1
        if request.body_bytes > COUNTED_BYTES:
            self.held_bytes -= request.body_bytes

    def arriving(self, held: int, arrived: int, declared: int) -> int:
        """Count what has arrived of a body that is not whole.

        Args:
            held: what this method returned for it before, at first 0.
            arrived: number of its bytes that are there.
            declared: how many there will be; 0 where the client did not say.

        Returns:
            What is held for it now; to be taken off `held_bytes` once it is whole or given up.

        Raises:
            OverloadError: there is no room for it, or it would be one too many; what was held for it is let go.
        """
        if arrived <= SMALL_BODY_BYTES and declared <= SMALL_BODY_BYTES:
            return held
        self.held_bytes -= held
        if not held:
            self._check_worker(max(arrived, declared))
            self._check_all()
        else:
            self._check_bytes(max(arrived, declared))
        self.held_bytes += arrived
        return arrived

    def retry_after_s(self) -> int:
        """Return in how many whole seconds what is pending now may be done.

        That is as long as the request whose turn is next has waited, or longer at the pace of the answers lately.
        """
        answered, since = self._mark
        seconds_each = (time.perf_counter() - since) / max(1, self.answered() - answered) if since else 0.0
        estimate_s = max(self.waited_s(), self.pending * seconds_each)
        return max(1, min(_LONGEST_RETRY_S, math.ceil(estimate_s)))

    def refused(self, error: OverloadError) -> OverloadError:
        """Count a refusal and return it; the log tells when a time of refusals begins and ends, not of each."""
        error.retry_after_s = self.retry_after_s()
        self.count(error.reason)
        self._refused[error.reason] += 1
        if not self.is_refusing:
            self.is_refusing = True
            self._mark = self.answered(), time.perf_counter()
            logger.warning("Requests are refused (%s): %s.", error.reason, error.message)
            self._report_later()
        return error

    def _check_worker(self, body_bytes: int) -> None:
        if self.pending >= self._most:
            raise self.refused(OverloadError(503, QUEUE_FULL, "Too many requests wait already"))
        self._check_bytes(body_bytes)

    def _check_bytes(self, body_bytes: int) -> None:
        if self.held_bytes and self.held_bytes + body_bytes > self._bounds.body_bytes:
            raise self.refused(OverloadError(503, QUEUE_BYTES, "The requests that wait have too large bodies"))

    def _check_all(self) -> None:
        concurrent = self._bounds.concurrent
        if concurrent != math.inf and self.pending + self.others() >= concurrent:
            message = f"Too many requests at a time: the limit is {concurrent:.0f}"
            raise self.refused(OverloadError(429, CONCURRENCY, message))

    def _report_later(self) -> None:
        if self._call_later is not None:
            self._call_later(REPORT_S, self._report)

    def _report(self) -> None:
        """Tell how many were refused since the last time, or that it is over."""
        refused, self._refused = self._refused, Counter()
        count = refused.total()
        self._total += count
        if count:
            reasons = ", ".join(f"{reason} {number}" for reason, number in refused.most_common())
            logger.warning("%d requests were refused in %.0f s: %s.", count, REPORT_S, reasons)
            self._mark = self.answered(), time.perf_counter()
            self._report_later()
        else:
            logger.warning("Requests are taken again; %d were refused.", self._total)
            self.is_refusing, self._total, self._mark = False, 0, (0, 0.0)


def _none() -> int:
    return 0


def _ignore(_: str) -> None:
    pass
