"""The rows of the table of settings that batching has."""

from __future__ import annotations

from dataclasses import dataclass

from azmlinfsrv.setting import row

_WORKERS = "Workers"


@dataclass(frozen=True)
class BatchSettings:
    """Whether requests are scored in batches, and what a batch may be."""

    max_batch_size: int | None = row(
        None,
        _WORKERS,
        "Most rows of a batch: the rows of several requests go to one call of `run()`. "
        "It wins over `@batched`; without either there are no batches.",
        "AZMLINFSRV_MAX_BATCH_SIZE",
        flag="--max_batch_size",
        minimum=1,
        in_file=True,
    )
    max_batch_wait_ms: float | None = row(
        None,
        _WORKERS,
        "Longest time that a batch that is not full waits for company, where there is reason to expect it; "
        "it wins over `@batched`, whose own default is 5.",
        "AZMLINFSRV_MAX_BATCH_WAIT_MS",
        flag="--max_batch_wait_ms",
        unit="milliseconds",
        minimum=0,
        in_file=True,
    )
    batch_retry: bool = row(
        True,
        _WORKERS,
        "Call `run()` once for each request of a batch on which it raised, so that no request fails for another.",
        "AZMLINFSRV_BATCH_RETRY",
        in_file=True,
    )
