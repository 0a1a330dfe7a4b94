"""What gunicorn's arbiter does for its workers' shared memory: it gives each a slot, and counts those it replaces."""

from __future__ import annotations

import logging
from typing import Any

from azmlinfsrv.telemetry.board import RESTARTS, WANTED, Board

logger = logging.getLogger("azmlinfsrv")

# A reload has twice the workers for a moment, and TTIN adds to them one by one.
_ROOM = 64


class Slots:
    """Runs in the arbiter, before the workers are forked and after they have ended.

    Args:
        workers: number of workers at the start.
        board: memory that is there already, or None.

    Attributes:
        board: the memory in which the workers count, and see what the others have to do.
        newest: the slot that was taken last, or None.
    """

    def __init__(self, workers: int, board: Board | None = None) -> None:
        self.board = board or Board(2 * workers + _ROOM, workers)
        self.newest: int | None = None

    def watch(self, config: Any) -> None:
        """Have gunicorn say when workers end or their number changes; hooks of gunicorn.conf.py stay in place."""
        users_exit, users_changed = config.child_exit, config.nworkers_changed

        def child_exit(arbiter: Any, worker: Any) -> None:
            if worker.slot is not None:
                self.board.release(worker.slot)
            users_exit(arbiter, worker)

        def nworkers_changed(arbiter: Any, new: int, old: int | None) -> None:
            self.board.cells[WANTED] = new
            users_changed(arbiter, new, old)

        config.set("child_exit", child_exit)
        config.set("nworkers_changed", nworkers_changed)

    def take(self) -> int | None:
        """Return the slot of a worker that is about to be forked; None, where there is no room, is logged."""
        slot = self.newest = self.board.take()
        if slot is None:
            logger.warning("There are more workers than there is room for: one of them is not counted in /metrics.")
        return slot

    def count_restart(self) -> None:
        """Count a worker that another has to replace: one that died, or that has done its part; not one of a reload."""
        self.board.cells[RESTARTS] += 1
