"""When a worker has grown so much that another is to take its place."""

from __future__ import annotations

import logging
import random
from collections.abc import Callable

from azmlinfsrv.telemetry.metrics import resident_bytes

logger = logging.getLogger("azmlinfsrv")

PERIOD_S = 1.0
# Workers that grow alike reach limits that are up to this much lower, each at another time.
JITTER = 0.1


class MemoryLimit:
    """Compares the resident memory of this process with a limit, about once a second.

    Args:
        limit_bytes: the limit; each worker has one of its own, up to a tenth lower.
        measure: returns the resident memory in bytes.
        chance: a number from 0 to 1; None draws one.
    """

    def __init__(
        self, limit_bytes: int, measure: Callable[[], int] = resident_bytes, chance: float | None = None
    ) -> None:
        share = random.random() if chance is None else chance  # noqa: S311 - no secret
        self.limit_bytes = int(limit_bytes * (1 - JITTER * share))
        self._measure = measure
        self._due: float | None = None
        self._is_off = False

    def is_over(self, now: float) -> bool:
        """Return whether the limit has just been exceeded; True is returned once.

        A process that exceeds it at its first look, before it has served, would be replaced by others that do too:
        this is logged, and the limit is dropped.

        Args:
            now: the monotonic clock in seconds.
        """
        is_first = self._due is None
        if self._is_off or (self._due is not None and now < self._due):
            return False
        self._due = now + PERIOD_S
        try:
            used_bytes = self._measure()
        except OSError:
            return False  # no descriptor is left to look with
        if used_bytes <= self.limit_bytes:
            return False
        self._is_off = True
        if is_first:
            logger.warning(
                "A worker needs %d bytes when it begins to serve, more than AZMLINFSRV_MAX_WORKER_MEMORY_BYTES allows: "
                "its memory is not limited.",
                used_bytes,
            )
        return not is_first
