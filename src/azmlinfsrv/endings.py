"""How requests end on the I/O thread, apart from their results: given up, refused, and streams to their last chunk."""

from __future__ import annotations

import queue
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from azmlinfsrv.admission import Admission
from azmlinfsrv.deadline import Deadline, Done, Job, LateCall
from azmlinfsrv.errors import RunTimeoutError
from azmlinfsrv.messages import Gate, Request, Response
from azmlinfsrv.scorer import Scorer
from azmlinfsrv.telemetry.metrics import STREAMING, WorkerMetrics

Drain = Callable[[], None]


def nothing(*_: Any) -> None:
    """Do nothing."""


def next_chunk(stream: Iterator[bytes]) -> bytes | None:
    """Return the next chunk of a stream, or None at its end."""
    return next(stream, None)


class Endings(ABC):
    """The part of a runner that ends requests; all of it is used on the I/O thread.

    A request is answered once: what a call brings that was given up is dropped.

    Args:
        scorer: makes the answers of errors.

    Attributes:
        streaming: requests whose streamed answer has begun and not ended.
        refusal: makes the answer of every request from now on; None: they are scored.
        metrics: counts calls and streams, or None.
        admission: says whether one more request is taken.
    """

    def __init__(self, scorer: Scorer) -> None:
        self._scorer = scorer
        self._jobs: queue.SimpleQueue[list[Request] | None] = queue.SimpleQueue()
        self._waiting: dict[Request, Done] = {}
        self._deadlines: list[Deadline] = []
        self._drops = 0
        self.admission = Admission()
        self._changed: Callable[[], object] = nothing
        self.streaming: set[Request] = set()
        self.refusal: Callable[[], Response] | None = None
        self.metrics: WorkerMetrics | None = None

    @abstractmethod
    def _complete(self, request: Request, response: Response, done: Done) -> None:
        """Hand an answer over, unless the request has one."""

    # -- calls that do not come back -----------------------------------------------------------------------------

    def give_up(self, jobs: Sequence[Job], error: RunTimeoutError, elapsed_s: float) -> None:
        """Answer the requests of a call that has not ended at its deadline, as if it had been interrupted there.

        Args:
            jobs: the requests.
            error: what they are answered with.
            elapsed_s: how long the call has lasted.
        """
        for request, done in jobs:
            self._waiting.pop(request, None)  # it may wait for its batch still
            if request in self.streaming:
                self._scorer.failure(request, error)
                self._abort(request)
            elif not request.answered:
                request.run_s, elapsed_s = elapsed_s, 0.0  # a batch's time is its first request's
                self._complete(request, self._scorer.failure(request, error), done)

    def late_calls(self, now: float) -> list[LateCall]:
        """Return the calls that were given up and have not come back.

        Args:
            now: `time.perf_counter`.
        """
        return [late for deadline in tuple(self._deadlines) if (late := deadline.late_call(now)) is not None]

    def refuse(self, refusal: Callable[[], Response]) -> None:
        """Give every request that has no answer this one, and those that come; streams are broken off."""
        self.refusal = refusal
        self.refuse_waiting()
        for request, done in self._working():
            if request in self.streaming:
                self._abort(request)
            elif not request.answered:
                self._complete(request, refusal(), done)

    def refuse_waiting(self) -> None:
        """Refuse the requests that wait."""
        for request in list(self._waiting):
            done = self._waiting.pop(request, None)
            if done is not None and self.refusal is not None:
                self._dropped(request)
                done(request, self.refusal())

    def _dropped(self, request: Request) -> None:
        """Count a request as no longer pending that has not been scored."""
        request.dropped = True
        self._drops += 1
        self.admission.release(request)
        self._changed()
        if self.metrics is not None:
            self.metrics.submitted(-1)

    def _working(self) -> list[Job]:
        """Return the requests that are worked on, some of them perhaps answered."""
        return [job for deadline in tuple(self._deadlines) for job in deadline.jobs]

    # -- streams -------------------------------------------------------------------------------------------------

    def _write(self, request: Request, chunk: bytes, gate: Gate) -> None:
        if request in self.streaming:
            request.reply.write(chunk, gate)
        else:
            gate.close()

    def _end(self, request: Request) -> None:
        if self._stream_ended(request):
            request.reply.end()

    def _abort(self, request: Request) -> None:
        if self._stream_ended(request):
            if request.disconnected and self.metrics is not None:
                self.metrics.abandoned(STREAMING)
            request.is_aborted = True
            request.reply.abort()

    def _stream_ended(self, request: Request) -> bool:
        """Count the end of a stream, and return whether it had not ended before."""
        if request not in self.streaming:
            return False
        self.streaming.remove(request)
        self.admission.release(request)
        self._changed()
        if self.metrics is not None:
            self.metrics.stream_ended()
        return True
