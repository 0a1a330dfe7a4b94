"""A server that is kept up, and whose place another can take: its script is loaded in a process that is new.

A process that has loaded the script cannot load it again, and its workers share its memory (WORKER_PRELOAD), or there
are none (a single process). So its parent, which never loads it, starts another beside it.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
from collections.abc import Callable

from azmlinfsrv.berth import Berth
from azmlinfsrv.child import Part, fork
from azmlinfsrv.telemetry.board import TAKEN, Board
from azmlinfsrv.worker_state import retire

logger = logging.getLogger("azmlinfsrv")

# More slots than workers: a worker more during a reload, and TTIN.
_ROOM = 64


class Succession(Part):
    """The process of the server, the one that is to take its place, and those whose place has been taken.

    Args:
        become: what the process does, in its place.
        workers: number of workers.

    Attributes:
        board: the memory that the workers of all share.
    """

    def __init__(self, become: Callable[[Berth], object], workers: int) -> None:
        super().__init__("the server", self._start_first)
        self.board = Board(2 * (2 * workers + _ROOM), workers)
        self._become = become
        self._slots_of: dict[int, range] = {}
        self._side = 1
        self._successor = 0
        self._reader: int | None = None
        self._retired: set[int] = set()
        self._is_due_again = False

    @property
    def waits(self) -> list[int]:
        """Descriptors that are readable when there is something for `check`."""
        return [self._reader] if self._reader is not None else []

    @property
    def is_down(self) -> bool:
        """Whether none of the processes runs."""
        return not (self.pid or self._successor or self._retired)

    def succeed(self) -> None:
        """Start a process that loads the script as it is now; it takes the other's place once it is ready.

        Where one before is still about to end, it is waited for: models take memory.
        """
        if not self.pid:
            return  # the next start loads it
        if self._successor:
            self._retire(self._successor)
            self._successor = 0
        self._is_due_again = bool(self._retired)
        if not self._is_due_again:
            logger.info("Loading the script again: what serves stays until it is ready.")
            try:
                self._successor = self._launch(is_successor=True)
            except OSError as error:
                logger.error("The reload is given up: %s", error)  # noqa: TRY400 - says it all

    def check(self) -> None:
        """See whether the successor is ready, and let it take the place; called when `waits` are readable."""
        if self._reader is None:
            return
        told = os.read(self._reader, 1)
        self._close_reader()
        if not (told and self._successor):
            return
        old, self.pid, self._successor = self.pid, self._successor, 0
        self._group = self.pid
        if old:
            for slot in self._slots_of[old]:
                if slot < self.board.cells[TAKEN]:
                    retire(self.board, slot)
            self._retire(old)
        logger.info("The new server is ready and takes the old one's place.")

    def ended(self, now: float) -> None:
        """Note that it has died; a successor that is on its way takes its place."""
        super().ended(now)
        if self._successor:
            self.pid = self._group = self._successor
            self._successor = 0

    def collected(self, pid: int, code: int) -> bool:
        """Note the end of a process; return whether it was one of these that is not missed.

        Args:
            pid: its process id.
            code: its exit code, or minus the number of a signal.
        """
        for slot in self._slots_of.pop(pid, range(0)):
            self.board.clear(slot)
        if pid in self._retired:
            self._retired.discard(pid)
            if self._is_due_again:
                self.succeed()
            return True
        if pid != self._successor:
            return False
        self._successor = 0
        self._close_reader()
        self.board.fail("")
        what = f"signal {-code}" if code < 0 else f"code {code}"
        logger.error("The new server ended with %s before it was ready: the reload is given up.", what)
        return True

    def send(self, number: int) -> None:
        """Signal all of them, to end; a successor that is not ready will not be."""
        self._is_due_again = False
        if self._successor:
            self._retired.add(self._successor)
            self._successor = 0
        for pid in {self.pid, *self._retired} - {0}:
            os.kill(pid, number)

    def forward(self, number: int) -> None:
        """Signal the one that serves, which is to do something else than to end."""
        super().send(number)

    def kill(self) -> None:
        """Kill all of them, with their workers."""
        super().kill()
        for pid in {self._successor, *self._retired} - {0}:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(pid, signal.SIGKILL)

    def _start_first(self) -> int:
        return self._launch(is_successor=False)

    def _launch(self, *, is_successor: bool) -> int:
        """Start a process, with slots that no other has, nor the workers of one that has died."""
        taken = {slots.start for slots in self._slots_of.values()}
        self._side = 1 - self._side if 1 - self._side not in taken else self._side
        slots = range(self._side, self.board.size, 2)
        self._close_reader()
        reader, writer = os.pipe()
        berth = Berth(self.board, slots, writer, is_successor)

        def become() -> None:
            os.close(reader)
            self.board.keep(slots)
            self._become(berth)

        try:
            pid = fork(become, signal.SIGTERM)
        except OSError:
            os.close(reader)
            os.close(writer)
            raise
        os.close(writer)
        self._reader = reader
        self._slots_of[pid] = slots
        return pid

    def _retire(self, pid: int) -> None:
        self._retired.add(pid)
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)

    def _close_reader(self) -> None:
        if self._reader is not None:
            os.close(self._reader)
            self._reader = None
