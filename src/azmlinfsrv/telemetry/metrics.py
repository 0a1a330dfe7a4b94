"""What a worker counts of its requests and of itself: a few additions in shared memory for each request."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from bisect import bisect_left
from collections.abc import Collection
from time import perf_counter

from azmlinfsrv import admission
from azmlinfsrv.messages import Request
from azmlinfsrv.telemetry import board as layout
from azmlinfsrv.telemetry.board import Board, Key
from azmlinfsrv.telemetry.catalogue import BOUNDS_ROWS, BOUNDS_S

OTHER = "other"
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT"})

# What was wrong with a request that was refused, by the status of its answer.
REASONS = {401: "unauthorized", 408: "slow", 413: "too_large", 431: "too_large"}
INVALID = "invalid"
# What a request whose client left was doing, when it was given up.
WAITING, RUNNING, STREAMING = "waiting", "running", "streaming"

# Names of the counters that have a label.
REJECTED, DROPPED, ABANDONED = "rejected", "dropped", "abandoned"

_FIRST_S = BOUNDS_S[0]

# Rows and histograms are held by their first bucket; this is where it is in a row, and what is before it.
_BUCKETS = layout.DURATIONS + 1
_SECONDS = -1
_SENT, _RECEIVED = layout.SENT_BYTES - _BUCKETS, layout.RECEIVED_BYTES - _BUCKETS


class WorkerMetrics:
    """Counts in one slot of the board; every method but `dropped` and `is_first` is called on the I/O thread.

    What is called for each request does no more than add, and takes less than a microsecond.

    Args:
        board: the memory.
        slot: the slot of this worker, as `Board.take` gave it; None, where it had no room, counts in memory of its own.

    Attributes:
        board: the memory that all workers share.
    """

    def __init__(self, board: Board, slot: int | None) -> None:
        own = board if slot is not None else Board(1, 1)
        start = own.start_of(slot or 0)
        self.board = board
        self._cells = own.cells
        self._base = start
        self._submitted = start + layout.SUBMITTED
        self._queue = start + layout.QUEUE_HISTOGRAM + 1
        self._run = start + layout.RUN_HISTOGRAM + 1
        self._routes: Collection[str] = ()
        self._lock, self._batches = threading.Lock(), threading.Lock()
        self._series_table, self._counter_table = own.series(start), own.counters(start)
        self._counters: dict[Key, int] = dict(self._counter_table.items())
        rejected = (OTHER, INVALID, *REASONS.values(), *admission.REASONS)
        for key in ((DROPPED, OTHER), *((REJECTED, reason) for reason in rejected)):
            self._counter(key)
        for stage in (OTHER, WAITING, RUNNING, STREAMING):
            self._counter((ABANDONED, stage))
        self._series: dict[tuple[str, str, int], int] = {}
        self._other = self._take_over(own)

    def _take_over(self, own: Board) -> int:
        """Count on from the worker that was here before, and return the first bucket of requests that get no row."""
        cells, start = self._cells, self._base
        cells[start + layout.UP] = 0
        cells[start + layout.CPU_BEFORE_S] = cells[start + layout.CPU_S]
        # What it left open is lost.
        cells[start + layout.SUBMITTED] = scored_requests(own, start)
        cells[start + layout.STREAMS_ENDED] = cells[start + layout.STREAMS_BEGUN]
        rows = dict(self._series_table.items())
        other = rows.pop((OTHER, OTHER, OTHER), None)
        self._series = {(route, method, int(status)): at + _BUCKETS for (route, method, status), at in rows.items()}
        if other is None:
            other = self._series_table.add((OTHER, OTHER, OTHER))
            assert other is not None, "the first row of the table"  # noqa: S101
        return other + _BUCKETS

    def serve(self, routes: Collection[str], run_slots: int, init_s: float, max_batch_size: int = 0) -> None:
        """Say that this worker serves from now on.

        Args:
            routes: paths that are known; requests to others are counted together.
            run_slots: number of calls of ``run()`` at a time.
            init_s: how long ``init()`` took.
            max_batch_size: most rows of a batch; 0 where requests are scored one by one.
        """
        self._routes = routes
        cells, start = self._cells, self._base
        cells[start + layout.RUN_SLOTS] = run_slots
        cells[start + layout.INIT_S] = init_s
        cells[start + layout.BATCH_LIMIT] = max_batch_size
        cells[start + layout.BATCHED] = 0
        cells[start + layout.STARTED] = time.time()
        self.sample()
        cells[start + layout.UP] = 1

    def is_first(self) -> bool:
        """Return whether this worker is the first of those that serve; called on any thread."""
        cells = self.board.cells
        first = next((start for start in self.board.used() if cells[start + layout.UP]), None)
        return self._cells is cells and first == self._base

    def submitted(self, count: int) -> None:
        """Count requests that wait for ``run()`` from now on, or, where it is less than 0, that wait no longer."""
        self._cells[self._submitted] += count

    def batch_begun(self, requests: int, rows: int) -> None:
        """Count a batch that ``run()`` is given; called on a scoring thread."""
        cells, at = self._cells, self._base + layout.BATCH_HISTOGRAM
        with self._batches:
            cells[at] += rows
            cells[at + 1 + bisect_left(BOUNDS_ROWS, rows)] += 1
            cells[self._base + layout.BATCHED] += requests

    def batch_ended(self, requests: int) -> None:
        """Count the requests of a batch as no longer within ``run()``; called on a scoring thread."""
        with self._batches:
            self._cells[self._base + layout.BATCHED] -= requests

    def timed_out(self, requests: int) -> None:
        """Count the requests of a batch that timed out beside its first."""
        self._cells[self._base + layout.TIMEOUTS] += requests

    def finished(self, request: Request, status: int, sent_bytes: int) -> None:
        """Count a request whose answer is complete, with the times it took if a scoring thread took it.

        Args:
            request: the request.
            status: status of its answer.
            sent_bytes: length of the body that was sent.
        """
        received = request.received
        seconds = perf_counter() - received
        at = self._series.get((request.path, request.method, status))
        if at is None:
            at = self._row(request.path, request.method, status)
        cells = self._cells
        # Most are in the first bucket where it matters how long this takes.
        cells[at if seconds <= _FIRST_S else at + bisect_left(BOUNDS_S, seconds)] += 1
        cells[at + _SECONDS] += seconds
        cells[at + _SENT] += sent_bytes
        if request.body_bytes:
            cells[at + _RECEIVED] += request.body_bytes
        if request.taken:
            seconds, at = request.taken - received, self._queue
            cells[at if seconds <= _FIRST_S else at + bisect_left(BOUNDS_S, seconds)] += 1
            cells[at + _SECONDS] += seconds
            if request.run_s:
                seconds, at = request.run_s, self._run
                cells[at if seconds <= _FIRST_S else at + bisect_left(BOUNDS_S, seconds)] += 1
                cells[at + _SECONDS] += seconds
                if request.timed_out:
                    cells[self._base + layout.TIMEOUTS] += 1

    def stream_begun(self) -> None:
        """Count a streamed answer that begins."""
        self._cells[self._base + layout.STREAMS_BEGUN] += 1

    def stream_ended(self) -> None:
        """Count a streamed answer that ends, whole or not."""
        self._cells[self._base + layout.STREAMS_ENDED] += 1

    def disconnected(self) -> None:
        """Count a client that ended its side of the connection before its answer was complete."""
        self._cells[self._base + layout.DISCONNECTED] += 1

    def rejected(self, status: int) -> None:
        """Count a request that was refused before ``run()`` was asked, with this status."""
        self._cells[self._counter((REJECTED, REASONS.get(status, INVALID)))] += 1

    def refused(self, reason: str) -> None:
        """Count a request that was refused, or answered before its turn, because there is too much to do."""
        self._cells[self._counter((REJECTED, reason))] += 1

    def abandoned(self, stage: str) -> None:
        """Count a request that was given up because its client had left: `WAITING`, `RUNNING` or `STREAMING`."""
        self._cells[self._counter((ABANDONED, stage))] += 1

    def dropped(self, sink: str, count: int = 1) -> None:
        """Count telemetry records that a sink has dropped; called on any thread, and never raises.

        Args:
            sink: a short name of where they were to go.
            count: number of records.
        """
        with self._lock:
            self._cells[self._counter((DROPPED, sink))] += count

    def sample(self) -> None:
        """Note memory and processor time of this process; called now and then."""
        cells, start = self._cells, self._base
        with contextlib.suppress(OSError):  # no descriptor is left: what was noted before stays
            cells[start + layout.RSS_BYTES] = resident_bytes()
        cells[start + layout.CPU_S] = cells[start + layout.CPU_BEFORE_S] + time.process_time()

    def _row(self, path: str, method: str, status: int) -> int:
        """Return the first bucket of the requests that are counted together with this one."""
        key = (path if path in self._routes else OTHER, method if method in METHODS else OTHER, status)
        at = self._series.get(key)
        if at is None:
            at = self._series_table.add((*key[:2], str(status)))
            if at is None:
                return self._other
            at += _BUCKETS
            self._series[key] = at
        return at

    def _counter(self, key: Key) -> int:
        """Return the cell of a counter; those for which there is no room share one.

        Only `dropped` can bring new keys, once the object is made.
        """
        at = self._counters.get(key)
        if at is None:
            at = self._counter_table.add(key)
            if at is None:
                return self._counters[key[0], OTHER]
            self._counters[key] = at
        return at


def scored_requests(board: Board, start: int) -> float:
    """Return how many requests that waited for ``run()`` have been answered in the slot that starts there."""
    first = start + layout.QUEUE_HISTOGRAM
    return sum(board.cells[first + 1 : first + layout.HISTOGRAM_CELLS])


def resident_bytes() -> int:
    """Return the resident memory of this process; its peak where there is no /proc, 0 where neither is known.

    Raises:
        OSError: it cannot be read just now.
    """
    with contextlib.suppress(FileNotFoundError), open("/proc/self/statm", "rb") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    try:
        import resource
    except ImportError:  # Windows
        return 0
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
