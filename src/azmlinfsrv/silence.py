"""Workers that give no sign of life: native code holds their interpreter lock, and nothing in them can end them."""

from __future__ import annotations

import contextlib
import logging
import os
import signal

from azmlinfsrv.deadline import GIVE_UP_S
from azmlinfsrv.settings import Settings
from azmlinfsrv.telemetry.board import Board
from azmlinfsrv.worker_state import STARTING, seen_workers

logger = logging.getLogger("azmlinfsrv")

# Between two signs of life, and for who is late with one on a busy machine.
_MARGIN_S = 1.0
# Who looks so seldom has been stopped itself, perhaps together with the workers.
_BLINK_S = 3.0


def longest_silence_s(settings: Settings) -> float:
    """Return for how long a worker may be silent, in seconds: a call may hold the lock until its deadline and grace."""
    if not (settings.scoring_timeout_ms and settings.stuck_grace_ms):
        return float("inf")
    return (settings.scoring_timeout_ms + settings.stuck_grace_ms) / 1000 + GIVE_UP_S + _MARGIN_S


class SilenceWatch:
    """Ends the workers that have been silent for too long; used outside of them, about once a second.

    Args:
        board: where the workers give their signs of life.
        longest_s: how long they may be silent.
    """

    def __init__(self, board: Board, longest_s: float) -> None:
        self._board = board
        self._longest_s = longest_s
        self._looked = float("-inf")
        self._signalled: set[int] = set()

    def check(self, now: float) -> None:
        """Look at all workers: SIGABRT has faulthandler write where it hangs, SIGKILL follows.

        Args:
            now: `time.monotonic`.
        """
        looked, self._looked = self._looked, now
        if now - looked > _BLINK_S:
            return
        silent = {
            worker.pid: worker.silent_s
            for worker in seen_workers(self._board, now)
            if worker.silent_s > self._longest_s and STARTING not in worker.reasons
        }
        for pid, silent_s in silent.items():
            if pid in self._signalled:
                _send(pid, signal.SIGKILL)
            else:
                logger.error(
                    "The worker with pid %d has been silent for %.1f s: native code holds its interpreter lock. "
                    "It is ended.",
                    pid,
                    silent_s,
                )
                _send(pid, signal.SIGABRT)
        self._signalled = set(silent)


def _send(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)
