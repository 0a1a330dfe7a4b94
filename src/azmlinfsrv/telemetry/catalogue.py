"""The metrics of ``/metrics``: one row each, from which the exposition and the reference page are made.

Names and units follow https://prometheus.io/docs/practices/naming/: a prefix, base units, ``_total`` for counters.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

PREFIX = "azmlinfsrv_"

# Upper bounds of the buckets of every duration, in seconds; one more has no bound.
BOUNDS_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)

# The same of batches, in rows: as many.
BOUNDS_ROWS = tuple(float(1 << power) for power in range(len(BOUNDS_S)))


class Metric(NamedTuple):
    """One metric.

    Attributes:
        name: its name without the prefix; a counter's ends in ``_total``, and the unit is part of it.
        kind: its type.
        labels: names of its labels.
        help: one sentence.
        bounds: upper bounds of the buckets of a histogram.
    """

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    labels: tuple[str, ...]
    help: str
    bounds: tuple[float, ...] = BOUNDS_S

    @property
    def unit(self) -> str:
        """Its base unit, or "" where it counts things."""
        last = self.name.removesuffix("_total").rpartition("_")[2]
        return last if last in ("seconds", "bytes") else ""


REQUESTS = Metric(
    "requests_total",
    "counter",
    ("route", "method", "status"),
    "Requests answered; those that name no endpoint have the route other.",
)
REQUEST_DURATION = Metric(
    "request_duration_seconds",
    "histogram",
    ("route", "method", "status"),
    "Time from the last byte of a request to the last of its answer.",
)
QUEUE_DURATION = Metric("queue_duration_seconds", "histogram", (), "Time that requests waited for run().")
RUN_DURATION = Metric("run_duration_seconds", "histogram", (), "Time that run() took.")
BATCH_SIZE = Metric(
    "batch_size",
    "histogram",
    (),
    "Rows of each batch that run() was given; only where requests are scored in batches.",
    BOUNDS_ROWS,
)
REQUEST_BYTES = Metric("request_body_bytes_total", "counter", ("route",), "Bytes of bodies received.")
RESPONSE_BYTES = Metric("response_body_bytes_total", "counter", ("route",), "Bytes of bodies sent.")
IN_FLIGHT = Metric(
    "requests_in_flight", "gauge", ("worker",), "Requests that wait for run(), or whose answers are not complete."
)
QUEUE_DEPTH = Metric("queue_depth", "gauge", ("worker",), "Requests that wait for run().")
RUN_SLOTS = Metric("run_slots", "gauge", ("worker",), "Calls of run() that a worker makes at a time.")
STREAMS_OPEN = Metric("streams_open", "gauge", ("worker",), "Streamed answers that are not complete.")
REJECTED = Metric(
    "requests_rejected_total",
    "counter",
    ("reason",),
    "Requests refused or dropped before run() was called, by what was wrong.",
)
TIMEOUTS = Metric(
    "run_timeouts_total",
    "counter",
    (),
    "Requests whose run() took longer than SCORING_TIMEOUT_MS, or than their callers wait.",
)
DISCONNECTED = Metric(
    "requests_disconnected_total",
    "counter",
    (),
    "Requests whose client closed the connection, or its side of it, before their answer was complete.",
)
ABANDONED = Metric(
    "requests_abandoned_total",
    "counter",
    ("stage",),
    "Requests given up because their client had left: before run() was called, or while it worked or streamed.",
)
WORKERS_UP = Metric("workers_up", "gauge", (), "Workers that serve.")
WORKERS_WANTED = Metric("workers_wanted", "gauge", (), "Workers that should serve.")
WORKER_RESTARTS = Metric(
    "worker_restarts_total", "counter", (), "Workers that crashed or had served for long enough, and were replaced."
)
WORKER_START = Metric("worker_start_time_seconds", "gauge", ("worker",), "When a worker began to serve, in Unix time.")
WORKER_MEMORY = Metric(
    "worker_resident_memory_bytes",
    "gauge",
    ("worker",),
    "Resident memory of a worker, pages that it shares with others included; where there is no /proc, its peak.",
)
WORKER_CPU = Metric(
    "worker_cpu_seconds_total", "counter", ("worker",), "Processor time of a worker and of those before it."
)
INIT_DURATION = Metric("worker_init_duration_seconds", "gauge", ("worker",), "Time that init() took.")
DROPPED = Metric(
    "telemetry_dropped_total",
    "counter",
    ("sink",),
    "Telemetry records dropped, because a sink was too slow or gone.",
)
BUILD = Metric("build_info", "gauge", ("version", "python"), "Always 1; the versions of the server and of Python.")

METRICS = (
    REQUESTS,
    REQUEST_DURATION,
    QUEUE_DURATION,
    RUN_DURATION,
    BATCH_SIZE,
    REQUEST_BYTES,
    RESPONSE_BYTES,
    IN_FLIGHT,
    QUEUE_DEPTH,
    RUN_SLOTS,
    STREAMS_OPEN,
    REJECTED,
    TIMEOUTS,
    DISCONNECTED,
    ABANDONED,
    WORKERS_UP,
    WORKERS_WANTED,
    WORKER_RESTARTS,
    WORKER_START,
    WORKER_MEMORY,
    WORKER_CPU,
    INIT_DURATION,
    DROPPED,
    BUILD,
)
