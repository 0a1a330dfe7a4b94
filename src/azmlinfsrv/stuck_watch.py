"""Calls of ``run()`` that do not come back: their log lines, and when their worker is of no more use."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable
from typing import Protocol

from azmlinfsrv import logs
from azmlinfsrv.deadline import LateCall
from azmlinfsrv.script import running_stack

logger = logging.getLogger("azmlinfsrv")

# The exit code of a process that ends because of them: EX_SOFTWARE of sysexits.h. gunicorn replaces such a worker.
STUCK_EXIT = 70


class LateCalls(Protocol):
    """What the watch wants to know of a runner."""

    slots: int

    @property
    def pending(self) -> int:
        """Number of requests that have no answer yet."""

    def late_calls(self, now: float) -> list[LateCall]:
        """Return the calls that were given up and have not come back."""


class StuckWatch:
    """Looks now and then whether calls have outlived their grace; used on the I/O thread.

    Where a worker has several scoring threads, the others serve on, and it is replaced once they have nothing to do,
    or are stuck too.

    Args:
        runner: makes the calls.
        grace_ms: how long a call that was given up may take to come back; 0 is any time.
        replace: called once, when the worker is to be replaced.
    """

    def __init__(self, runner: LateCalls, grace_ms: int, replace: Callable[[], object]) -> None:
        self._runner = runner
        self._grace_s = grace_ms / 1000
        self._replace = replace
        self._logged: set[tuple[int, int]] = set()
        self._replaced = False

    def check(self, now: float) -> None:
        """See to the calls that have outlived their grace.

        Args:
            now: `time.perf_counter`.
        """
        if not self._grace_s or self._replaced:
            return
        stuck = [call for call in self._runner.late_calls(now) if call.late_s >= self._grace_s]
        for call in stuck:
            if (call.thread, call.number) not in self._logged:
                self._logged.add((call.thread, call.number))
                _log(call)
        is_blocked = any(call.blocks_all for call in stuck) or len(stuck) >= self._runner.slots
        if stuck and (is_blocked or not self._runner.pending):
            self._replaced = True
            logger.error("The worker with pid %d is stuck, and makes way for another.", os.getpid())
            self._replace()


def _log(call: LateCall) -> None:
    """Say which requests are stuck where."""
    stack = running_stack(sys._current_frames().get(call.thread))
    logs.write(
        logger,
        logging.ERROR,
        "run() is stuck: it has not come back %.1f s after it was given up.\n%sRequest id: %s",
        call.late_s,
        stack,
        ", ".join(request.ids.request_id for request in call.requests),
        extra={logs.REQUEST: call.requests[0]} if call.requests else None,
    )
