"""Scores requests in batches: gathers what waits while a batch runs, and waits for more where that is worth it."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections import deque
from typing import Any

from azmlinfsrv import capture, logs
from azmlinfsrv.batch_scorer import BatchScorer, Member
from azmlinfsrv.batching import BatchLimits, Company, Line
from azmlinfsrv.messages import Request, Response
from azmlinfsrv.runner import Job, Runner, ThreadsRunner
from azmlinfsrv.scorer import Call

logger = logging.getLogger("azmlinfsrv")


class BatchRunner(Runner):
    """Scores a batch at a time in the thread that calls `serve`.

    Scoring threads take turns: one gathers a batch, lets the next gather, and scores its own.

    Args:
        batches: turns requests into responses.
        limits: what a batch may be.
        rest: see `Runner`, and `ThreadsRunner` where that is a base too.

    Attributes:
        company: says for how long a batch waits for more requests.
    """

    def __init__(self, batches: BatchScorer, limits: BatchLimits, *rest: Any, **options: Any) -> None:
        super().__init__(batches.scorer, *rest, **options)
        self.max_batch_size = limits.max_batch_size
        self._batches = batches
        self.company = Company(limits.max_wait_ms / 1000)
        self._line: Line[Member] = Line(limits.max_batch_size)
        self._raw: deque[Job] = deque()
        self._turn = threading.Lock()
        self._is_stopping = False

    def _pass_on(self, jobs: list[Job]) -> None:
        """Queue jobs together: what arrived together is there together."""
        self._jobs.put(jobs)

    def _work(self, call: Call) -> None:
        while (batch := self._gather(call)) is not None:
            self._score(batch, call)
            del batch  # a large body must not live on

    def _gather(self, call: Call) -> list[Member] | None:
        """Return the next batch, once there is one; None once the runner stops and nothing is left."""
        line = self._line
        with self._turn:
            self._receive(0)
            while True:
                self._admit(call)
                if not line:
                    if self._is_stopping:
                        return None
                    self._receive(None)
                    continue
                patience_s = 0.0
                if not (line.is_full or self._is_stopping):
                    patience_s = self.company.patience_s(time.perf_counter(), len(line))
                if not patience_s:
                    return line.take()
                self._receive(patience_s)

    def _receive(self, timeout_s: float | None) -> None:
        """Take all that is in the queue; where there is nothing, wait for it."""
        try:
            jobs = self._jobs.get(timeout=timeout_s)
            while True:
                if jobs is None:
                    self._is_stopping = True
                else:
                    self._raw.extend(jobs)
                jobs = self._jobs.get_nowait()
        except queue.Empty:
            pass

    def _admit(self, call: Call) -> None:
        """Convert the inputs of as many requests as the next batch can have."""
        line, raw = self._line, self._raw
        while raw and not line.is_full:
            request, done = raw.popleft()
            self._enter(request)
            member = self._batches.admit(request, done, call)
            if isinstance(member, Member):
                line.add(member)
            else:
                request.taken = time.perf_counter()
                self.completions.post(self._complete, request, member, done)

    def _enter(self, request: Request) -> None:
        capture.enter_request(request.ids.request_id)
        if self.enter is not None:
            self.enter(request)

    def _score(self, batch: list[Member], call: Call) -> None:
        metrics, count, rows = self.metrics, len(batch), sum(member.rows for member in batch)
        taken = time.perf_counter()
        for member in batch:
            member.request.taken = taken
        if count > 1 and logger.isEnabledFor(logging.DEBUG):
            ids = logs.printable(", ".join(member.request.ids.request_id for member in batch))
            logger.debug("Batch of %d requests with %d rows: %s", count, rows, ids)
        if metrics is not None:
            self.completions.post(metrics.batch_begun, count, rows)
        try:
            self._batches.score(batch, call, self._enter, self._answer)
        finally:
            if metrics is not None:
                timeouts = sum(member.request.timed_out and not member.request.run_s for member in batch)
                self.completions.post(metrics.batch_ended, count, timeouts)
        self._drain()
        with self._turn:
            self._receive(0)
            waiting = [member.request.received for member in self._line]
            waiting += [request.received for request, _ in self._raw]
            run_s = batch[0].request.run_s
            self.company.ended(time.perf_counter(), taken + run_s, run_s, count, waiting)

    def _answer(self, member: Member, response: Response) -> None:
        self.completions.post(self._complete, member.request, response, member.done)
        if response.stream is not None:
            self._pump(member.request, response.stream)


class BatchThreadsRunner(BatchRunner, ThreadsRunner):
    """Scores several batches at a time, in threads."""
