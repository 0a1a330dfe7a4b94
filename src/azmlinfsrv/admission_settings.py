"""The rows of the table of settings that say what happens when too much arrives, or when clients leave."""

from __future__ import annotations

from dataclasses import dataclass

from azmlinfsrv.setting import row

_LIMITS = "Limits"


@dataclass(frozen=True)
class AdmissionSettings:
    """How many requests may wait, for how long, and for whom."""

    max_queue: int = row(
        2048,
        _LIMITS,
        "Most requests that wait in a worker, besides those that `run()` works on; more get 503.",
        "AZMLINFSRV_MAX_QUEUE",
        flag="--max_queue",
        minimum=0,
        in_file=True,
    )
    max_queue_bytes: int = row(
        1024 * 1024 * 1024,
        _LIMITS,
        "Most bytes of bodies that a worker holds: those that arrive, wait, and are worked on; more get 503. "
        "One request is always taken.",
        "AZMLINFSRV_MAX_QUEUE_BYTES",
        flag="--max_queue_bytes",
        unit="bytes",
        minimum=1,
        in_file=True,
    )
    max_queue_wait_ms: int = row(
        0,
        _LIMITS,
        "Longest time that a request waits for `run()`; then it gets 503 and is never scored; 0 is any.",
        "AZMLINFSRV_MAX_QUEUE_WAIT_MS",
        flag="--max_queue_wait_ms",
        unit="milliseconds",
        minimum=0,
        in_file=True,
    )
    max_concurrent_requests: int | None = row(
        None,
        _LIMITS,
        "Most requests that wait or are worked on in all workers together; more get 429, as Azure ML's endpoints "
        "answer. Any number where it is not set.",
        "AZMLINFSRV_MAX_CONCURRENT_REQUESTS",
        flag="--max_concurrent_requests",
        minimum=1,
        in_file=True,
    )
    deadline_header: str = row(
        "x-request-timeout-ms",
        _LIMITS,
        "Name of the request header that says for how many milliseconds more its caller waits; empty is none.",
        "AZMLINFSRV_DEADLINE_HEADER",
        in_file=True,
    )
    half_close_timeout_ms: int = row(
        1000,
        _LIMITS,
        "How long nothing may have come or gone on a connection whose client has ended its side; then the client is "
        "taken to have left; 0 is any time.",
        "AZMLINFSRV_HALF_CLOSE_TIMEOUT_MS",
        unit="milliseconds",
        minimum=0,
        in_file=True,
    )
