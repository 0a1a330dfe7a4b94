"""The gunicorn worker: what it has its service do, in this process."""

from __future__ import annotations

import logging
import os
import signal
import socket
from collections.abc import Iterator
from types import SimpleNamespace

import pytest
from gunicorn.config import Config

from azmlinfsrv.boot import Loaded
from azmlinfsrv.schema import Swagger
from azmlinfsrv.script import Script
from azmlinfsrv.settings import Settings
from azmlinfsrv.slots import Slots
from azmlinfsrv.telemetry.board import LOAD
from azmlinfsrv.worker import ScoringWorker
from azmlinfsrv.worker_state import WorkerState
from tests.unit.http_fakes import load_module


class BriefWorker(ScoringWorker):
    """A worker that leaves at its first sign of life.

    Attributes:
        load: what it had told the other workers by then that it has to do; 0 where it had told them nothing.
    """

    load = -1

    def notify(self) -> None:
        """Look, and stop."""
        if self.load < 0:
            board = self.app.slots.board
            self.load = int(board.cells[board.start_of(self.slot) + LOAD])
        self.handle_exit(signal.SIGTERM, None)


@pytest.fixture
def listening() -> Iterator[socket.socket]:
    """The socket that the workers share."""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        yield sock


@pytest.fixture
def signals() -> Iterator[list[int]]:
    """The pipe by which gunicorn tells a worker of signals."""
    ends = list(os.pipe())
    yield ends
    for end in ends:
        os.close(end)


@pytest.mark.parametrize("workers", [1, 2])
def test_several_workers_take_turns(workers: int, listening: socket.socket, signals: list[int]) -> None:
    """Where there are several, a worker tells the others what it has to do before it takes the first connection."""
    script = Script(load_module("core_plain"))
    settings = Settings(worker_count=workers)
    loaded = Loaded(script, Swagger(settings, script.run), lambda: None, 0.0)
    app = SimpleNamespace(slots=Slots(workers), tls=None)
    sockets = [SimpleNamespace(sock=listening.dup())]
    worker = BriefWorker(1, os.getppid(), sockets, app, 30, Config(), logging.getLogger("gunicorn.error"))
    worker.wsgi, worker.PIPE = (loaded, settings), signals
    worker._state = WorkerState(app.slots.board, worker.slot)  # made by init_process
    worker.run()
    worker.tmp.close()
    assert (worker.load > 0) is (workers > 1)
