"""What a server gets from a process above it, which holds its sockets and lets another take its place."""

from __future__ import annotations

import contextlib
import os
from typing import NamedTuple

from azmlinfsrv.telemetry.board import Board


class Berth(NamedTuple):
    """The place of one server, beside another that may serve at the same time.

    Attributes:
        board: the memory that the workers of both share.
        slots: the slots of this one's workers.
        ready: descriptor of a pipe to say by that all workers are ready.
        is_successor: whether another serves meanwhile: it stays if this one cannot start.
    """

    board: Board
    slots: range
    ready: int
    is_successor: bool

    def tell_ready(self) -> None:
        """Say that all workers are ready; nobody may want to know any more, after a second reload."""
        with contextlib.suppress(BrokenPipeError):
            os.write(self.ready, b"1")
