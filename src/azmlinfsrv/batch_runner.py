"""Scores requests in batches: gathers what waits while a batch runs, and waits for more where that is worth it."""

from __future__ import annotations

import functools
import logging
import math
import queue
import threading
import time
from collections import deque
from collections.abc import Iterable, Sequence
from typing import Any

from azmlinfsrv import capture, logs
from azmlinfsrv.batch_scorer import BatchScorer, Member
from azmlinfsrv.batching import BatchLimits, Company, Line
from azmlinfsrv.deadline import Deadline, Job
from azmlinfsrv.messages import Request, Response
from azmlinfsrv.runner import Runner, ThreadsRunner

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
        self._raw: deque[Request] = deque()
        self._turn = threading.Lock()
        self._is_stopping = False
        self._seen_drops = 0

    def _pass_on(self, requests: list[Request]) -> None:
        """Queue requests together: what arrived together is there together."""
        self._jobs.put(requests)

    def _work(self, deadline: Deadline) -> None:
        while (batch := self._gather(deadline)) is not None:
            self._score(batch, deadline)
            deadline.until, deadline.jobs = math.inf, ()
            del batch  # a large body must not live on

    def _gather(self, deadline: Deadline) -> list[Member] | None:
        """Return the next batch, once there is one; None once the runner stops and nothing is left."""
        line = self._line
        with self._turn:
            self._receive(0)
            while True:
                self._admit(deadline)
                if not line:
                    if self._is_stopping:
                        return None
                    self._receive(None)
                    continue
                patience_s = 0.0
                if not (line.is_full or self._is_stopping):
                    patience_s = self.company.patience_s(time.perf_counter(), len(line))
                if patience_s:
                    self._receive(patience_s)
                elif batch := self._take_all(line.take(), deadline):
                    return batch

    def _take_all(self, members: list[Member], deadline: Deadline) -> list[Member]:
        """Take those who still wait; their call ends when the last of their callers has left."""
        batch = [member for member in members if self._take(member.request, None) is not None]
        until = [member.request.deadline for member in batch]
        deadline.until = max(until) if until and all(until) else math.inf
        return batch

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

    def _admit(self, deadline: Deadline) -> None:
        """Convert the inputs of as many requests as the next batch can have; those who have left are not in it."""
        line, raw, waiting = self._line, self._raw, self._waiting
        if self._drops != self._seen_drops:
            self._seen_drops = self._drops
            line.keep(lambda member: member.request in waiting)
        deadline.blocks_all = True  # whose turn it is holds the others up
        while raw and not line.is_full:
            request = raw.popleft()
            done = waiting.get(request)
            if done is None:
                continue
            deadline.jobs = ((request, done),)
            self._enter(request)
            deadline.until = request.deadline or math.inf
            member = self._batches.admit(request, done, deadline.call)
            deadline.until = math.inf
            if isinstance(member, Member):
                line.add(member)
            elif self._take(request, None) is not None:
                request.taken = time.perf_counter()
                self.completions.post(self._complete, request, member, done)
        deadline.blocks_all, deadline.jobs = False, ()

    def _enter(self, request: Request) -> None:
        capture.enter_request(request.ids.request_id)
        if self.enter is not None:
            self.enter(request)

    def _score(self, batch: list[Member], deadline: Deadline) -> None:
        metrics, count, rows = self.metrics, len(batch), sum(member.rows for member in batch)
        taken = time.perf_counter()
        deadline.jobs = _jobs(batch)
        for member in batch:
            member.request.taken = taken
        if count > 1 and logger.isEnabledFor(logging.DEBUG):
            ids = logs.printable(", ".join(member.request.ids.request_id for member in batch))
            logger.debug("Batch of %d requests with %d rows: %s", count, rows, ids)
        if metrics is not None:
            metrics.batch_begun(count, rows)

        def enter(members: Sequence[Member]) -> None:
            deadline.jobs = _jobs(members)
            self._enter(members[0].request)

        try:
            self._batches.score(batch, deadline.call, enter, functools.partial(self._answer, deadline))
        finally:
            if metrics is not None:
                metrics.batch_ended(count)
                timeouts = sum(member.request.timed_out and not member.request.run_s for member in batch)
                if timeouts:
                    self.completions.post(metrics.timed_out, timeouts)
        self._drain()
        with self._turn:
            self._receive(0)
            waiting = [member.request.received for member in self._line]
            waiting += [request.received for request in self._raw]
            run_s = batch[0].request.run_s
            self.company.ended(time.perf_counter(), taken + run_s, run_s, count, waiting)

    def _answer(self, deadline: Deadline, member: Member, response: Response) -> None:
        self.completions.post(self._complete, member.request, response, member.done)
        if response.stream is not None:
            deadline.jobs = _jobs([member])
            self._pump(member.request, response.stream, deadline.call)


class BatchThreadsRunner(BatchRunner, ThreadsRunner):
    """Scores several batches at a time, in threads."""


def _jobs(members: Iterable[Member]) -> list[Job]:
    return [(member.request, member.done) for member in members]
