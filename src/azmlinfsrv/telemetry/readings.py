"""What the workers of a server have counted, read from the memory that they share and added up."""

from __future__ import annotations

import platform
from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

from azmlinfsrv._version import __version__
from azmlinfsrv.telemetry import board as layout
from azmlinfsrv.telemetry import catalogue
from azmlinfsrv.telemetry.board import Board, Key
from azmlinfsrv.telemetry.catalogue import Metric
from azmlinfsrv.telemetry.metrics import ABANDONED, DROPPED, OTHER, REJECTED, WorkerMetrics, scored_requests

# A number, or the cells of a histogram: the sum, then the buckets.
Value = float | Sequence[float]


class Reading(NamedTuple):
    """The values of one metric.

    Attributes:
        metric: the metric.
        values: the values of its labels, each with its value.
    """

    metric: Metric
    values: list[tuple[Key, Value]]


def read(board: Board) -> list[Reading]:
    """Return the readings of all metrics, in the order of the catalogue."""
    starts = list(board.used())
    readings = [
        *_requests(board, starts),
        *_scoring(board, starts),
        *_workers(board, starts),
        *_named(board, starts),
        _one(catalogue.WORKERS_WANTED, board.cells[layout.WANTED]),
        _one(catalogue.WORKER_RESTARTS, board.cells[layout.RESTARTS]),
        Reading(catalogue.BUILD, [((__version__, platform.python_version()), 1.0)]),
    ]
    order = {metric.name: number for number, metric in enumerate(catalogue.METRICS)}
    return sorted(readings, key=lambda each: order[each.metric.name])


def read_for_all(metrics: WorkerMetrics) -> list[Reading]:
    """Return the readings of all metrics in one of the workers, the first that serves, and none in the others."""
    if not metrics.is_first():
        return []
    metrics.sample()
    return read(metrics.board)


def _one(metric: Metric, value: Value) -> Reading:
    return Reading(metric, [((), value)])


def _requests(board: Board, starts: list[int]) -> list[Reading]:
    """Read what is counted by route, method and status."""
    cells, width = board.cells, layout.SERIES_CELLS
    rows: dict[Key, list[float]] = {}
    for start in starts:
        for key, at in board.series(start).items():
            row = list(cells[at : at + width])
            rows[key] = [a + b for a, b in zip(rows[key], row, strict=True)] if key in rows else row
    received: defaultdict[Key, float] = defaultdict(float)
    sent: defaultdict[Key, float] = defaultdict(float)
    counts: list[tuple[Key, Value]] = []
    durations: list[tuple[Key, Value]] = []
    for key, row in sorted(rows.items()):
        histogram = row[layout.DURATIONS :]
        count = sum(histogram[1:])
        if count:
            counts.append((key, count))
            durations.append((key, histogram))
            received[key[:1]] += row[layout.RECEIVED_BYTES]
            sent[key[:1]] += row[layout.SENT_BYTES]
    return [
        Reading(catalogue.REQUESTS, counts),
        Reading(catalogue.REQUEST_DURATION, durations),
        Reading(catalogue.REQUEST_BYTES, list(received.items())),
        Reading(catalogue.RESPONSE_BYTES, list(sent.items())),
    ]


def _scoring(board: Board, starts: list[int]) -> list[Reading]:
    """Read what has no labels."""
    cells = board.cells

    def histogram(first: int) -> list[float]:
        rows = [cells[start + first : start + first + layout.HISTOGRAM_CELLS] for start in starts]
        return [sum(column) for column in zip(*rows, strict=True)] or [0.0] * layout.HISTOGRAM_CELLS

    def total(cell: int) -> float:
        return sum(cells[start + cell] for start in starts)

    batches = [_one(catalogue.BATCH_SIZE, histogram(layout.BATCH_HISTOGRAM))] if total(layout.BATCH_LIMIT) else []
    return [
        *batches,
        _one(catalogue.QUEUE_DURATION, histogram(layout.QUEUE_HISTOGRAM)),
        _one(catalogue.RUN_DURATION, histogram(layout.RUN_HISTOGRAM)),
        _one(catalogue.TIMEOUTS, total(layout.TIMEOUTS)),
        _one(catalogue.DISCONNECTED, total(layout.DISCONNECTED)),
        _one(catalogue.WORKERS_UP, total(layout.UP)),
    ]


def _workers(board: Board, starts: list[int]) -> list[Reading]:
    """Read what is told of each worker that serves, and the processor time also of those that did."""
    cells = board.cells
    readings = {
        metric: Reading(metric, [])
        for metric in (
            catalogue.IN_FLIGHT,
            catalogue.QUEUE_DEPTH,
            catalogue.RUN_SLOTS,
            catalogue.STREAMS_OPEN,
            catalogue.WORKER_START,
            catalogue.WORKER_MEMORY,
            catalogue.INIT_DURATION,
            catalogue.WORKER_CPU,
        )
    }
    for start in starts:
        worker = (str(board.slot_of(start)),)
        readings[catalogue.WORKER_CPU].values.append((worker, cells[start + layout.CPU_S]))
        if not cells[start + layout.UP]:
            continue
        in_flight = max(cells[start + layout.SUBMITTED] - scored_requests(board, start), 0.0)
        run_slots = cells[start + layout.RUN_SLOTS]
        running = cells[start + layout.BATCHED] if cells[start + layout.BATCH_LIMIT] else run_slots
        for metric, value in (
            (catalogue.IN_FLIGHT, in_flight),
            (catalogue.QUEUE_DEPTH, max(in_flight - running, 0.0)),
            (catalogue.RUN_SLOTS, run_slots),
            (catalogue.STREAMS_OPEN, cells[start + layout.STREAMS_BEGUN] - cells[start + layout.STREAMS_ENDED]),
            (catalogue.WORKER_START, cells[start + layout.STARTED]),
            (catalogue.WORKER_MEMORY, cells[start + layout.RSS_BYTES]),
            (catalogue.INIT_DURATION, cells[start + layout.INIT_S]),
        ):
            readings[metric].values.append((worker, value))
    return list(readings.values())


def _named(board: Board, starts: list[int]) -> list[Reading]:
    """Read the counters that are found by a name and a label."""
    sums: defaultdict[Key, float] = defaultdict(float)
    for start in starts:
        for key, at in board.counters(start).items():
            sums[key] += board.cells[at]
    metrics = {REJECTED: catalogue.REJECTED, DROPPED: catalogue.DROPPED, ABANDONED: catalogue.ABANDONED}
    readings = {name: Reading(metric, []) for name, metric in metrics.items()}
    for (name, label), value in sorted(sums.items()):
        if value or label != OTHER:
            readings[name].values.append(((label,), value))
    return list(readings.values())
