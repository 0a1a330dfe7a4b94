"""A worker's two threads: what keeps them going, and how they end."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from azmlinfsrv.boot import Loaded
from azmlinfsrv.schema import Swagger
from azmlinfsrv.script import Script
from azmlinfsrv.service import Service
from azmlinfsrv.settings import Settings
from azmlinfsrv.telemetry.board import CONDITION, HEARTBEAT, Board
from azmlinfsrv.worker_state import REASONS, WorkerState
from tests.unit.http_fakes import load_module

if TYPE_CHECKING:
    import pytest


def made(heartbeat: Callable[[], None], state: WorkerState | None = None) -> Service:
    """Return the service of a script, with nothing to listen on."""
    script = Script(load_module("core_plain"))
    settings = Settings(graceful_timeout_s=0)  # there is nothing to wait for
    loaded = Loaded(script, Swagger(settings, script.run), lambda: None, 0.0)
    return Service(loaded, settings, [], asyncio.new_event_loop, heartbeat, state=state)


def test_a_stop_that_comes_too_late() -> None:
    """A second signal after the I/O loop has ended, as a process group gets it, does no harm."""

    def stop() -> None:
        service.stop()

    service = made(stop)
    service.run()
    service.stop()


def test_a_failing_beat_is_not_the_last(caplog: pytest.LogCaptureFixture) -> None:
    """What fails in one turn of what is done a few times a second is logged, and does not end it."""
    beats: list[int] = []

    def beat() -> None:
        beats.append(len(beats))
        if len(beats) == 2:
            raise OSError("no descriptor is left")
        if len(beats) == 4:
            service.stop()

    service = made(beat)
    with caplog.at_level(logging.ERROR, "asyncio"):
        service.run()
    assert len(beats) >= 4
    assert "no descriptor is left" in caplog.text


def test_a_worker_says_how_it_is() -> None:
    """A worker that starts takes requests once its loop runs, says that it stops, and may be silent while it ends."""
    board = Board(1, 1)
    state = WorkerState(board, board.take())
    start = board.start_of(0)
    conditions: list[int] = []

    def beat() -> None:
        conditions.append(int(board.cells[start + CONDITION]))
        service.stop()

    state.begin(1, time.monotonic() - 1000)
    began = board.cells[start + HEARTBEAT]
    assert board.cells[start + CONDITION] == 1 << REASONS.index("starting")
    service = made(beat, state)
    service.run()
    assert conditions[0] == 0
    assert conditions[-1] == 1 << REASONS.index("stopping")
    assert board.cells[start + HEARTBEAT] > time.monotonic() > began + 1000
