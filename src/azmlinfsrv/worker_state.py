"""What each worker says of itself on the memory that all share: that it lives, and why it takes no requests."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import NamedTuple

from azmlinfsrv.telemetry.board import CONDITION, HEARTBEAT, PID, RETIRED, TAKEN, WORN, Board

OVERLOADED, STARTING, STOPPING, STUCK = "overloaded", "starting", "stopping", "stuck"
# Why a worker takes no requests, the gravest last.
REASONS = (OVERLOADED, STARTING, STOPPING, STUCK)


class WorkerState:
    """Writes the state of one worker.

    Args:
        board: the memory.
        slot: the worker's slot, as `Board.take` gave it; None: nobody can see its state.
    """

    def __init__(self, board: Board, slot: int | None) -> None:
        own = board if slot is not None else Board(1, 1)
        self._cells = own.cells
        self._at = own.start_of(slot or 0)

    def begin(self, pid: int, now: float) -> None:
        """Say that the worker's process has begun to start.

        Args:
            pid: its process id.
            now: `time.monotonic`.
        """
        self.tell((STARTING,))
        self.beat(now)
        self._cells[self._at + PID] = pid

    def beat(self, now: float) -> None:
        """Give a sign of life."""
        self._cells[self._at + HEARTBEAT] = now

    def tell(self, reasons: Collection[str]) -> None:
        """Say for which of `REASONS` the worker takes no requests; for none of them, it does."""
        self._cells[self._at + CONDITION] = sum(1 << REASONS.index(reason) for reason in reasons)

    def wear_out(self) -> None:
        """Ask for another worker to take this one's place."""
        self._cells[self._at + WORN] = 1

    @property
    def is_retired(self) -> bool:
        """Whether another worker has taken this one's place: its end is not that of the server."""
        return bool(self._cells[self._at + RETIRED])


def is_ready(board: Board, slot: int, pid: int) -> bool:
    """Return whether the worker of a slot has been seen to serve.

    Args:
        board: the memory.
        slot: the worker's slot.
        pid: its process id.
    """
    start = board.start_of(slot)
    return board.cells[start + PID] == pid and not int(board.cells[start + CONDITION]) >> REASONS.index(STARTING) & 1


def is_worn(board: Board, slot: int) -> bool:
    """Return whether the worker of a slot asks for another to take its place."""
    return bool(board.cells[board.start_of(slot) + WORN])


def retire(board: Board, slot: int) -> None:
    """Have the worker of a slot know that another has taken its place, before it is told to end."""
    board.cells[board.start_of(slot) + RETIRED] = 1


class Seen(NamedTuple):
    """What is seen of a worker.

    Attributes:
        number: number of its slot.
        pid: its process id.
        silent_s: how long ago it gave its last sign of life.
        reasons: why it takes no requests, the gravest last.
    """

    number: int
    pid: int
    silent_s: float
    reasons: tuple[str, ...]


def seen_workers(board: Board, now: float) -> Iterator[Seen]:
    """Return what is seen of each worker that runs.

    Args:
        board: the memory.
        now: `time.monotonic`.
    """
    cells = board.cells
    for slot in range(int(cells[TAKEN])):
        start = board.start_of(slot)
        pid = int(cells[start + PID])
        if pid:
            bits = int(cells[start + CONDITION])
            reasons = tuple(reason for bit, reason in enumerate(REASONS) if bits >> bit & 1)
            yield Seen(slot, pid, max(0.0, now - cells[start + HEARTBEAT]), reasons)
