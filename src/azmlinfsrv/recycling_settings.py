"""The rows of the table of settings that say what a worker may use, and when it has served for long enough."""

from __future__ import annotations

from dataclasses import dataclass

from azmlinfsrv.setting import row
from azmlinfsrv.thread_limits import ThreadSettings


@dataclass(frozen=True)
class RecyclingSettings(ThreadSettings):
    """What each worker may use: its threads; after how many requests, or at how much memory, another replaces it."""

    max_requests: int = row(
        0,
        "Workers",
        "Number of scored requests after which another worker takes one's place, once it is ready; 0 is any number.",
        "AZMLINFSRV_MAX_REQUESTS",
        minimum=0,
        in_file=True,
    )
    max_requests_jitter: int = row(
        0,
        "Workers",
        "Up to so many requests more, drawn by each worker, so that not all are due at the same time.",
        "AZMLINFSRV_MAX_REQUESTS_JITTER",
        minimum=0,
        in_file=True,
    )
    max_worker_memory_bytes: int = row(
        0,
        "Workers",
        "Resident memory of a worker at which another takes its place, once it is ready; "
        "each worker draws a limit of its own, up to a tenth lower. 0 is any amount.",
        "AZMLINFSRV_MAX_WORKER_MEMORY_BYTES",
        unit="bytes",
        minimum=0,
        in_file=True,
    )
