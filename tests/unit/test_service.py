"""A worker's two threads: what keeps them going, and how they end."""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context

import pytest
import uvloop

from azmlinfsrv import service as under_test
from azmlinfsrv.acceptor import Load
from azmlinfsrv.access_log import RequestLog
from azmlinfsrv.boot import Loaded
from azmlinfsrv.contention import Contention
from azmlinfsrv.protocol import Connections, HttpProtocol
from azmlinfsrv.schema import Swagger
from azmlinfsrv.script import Script
from azmlinfsrv.service import Service
from azmlinfsrv.settings import Settings
from azmlinfsrv.telemetry.board import CONDITION, HEARTBEAT, Board
from azmlinfsrv.worker_state import REASONS, WorkerState
from tests.unit.http_fakes import load_module

WAIT_S = 15


@pytest.fixture
def listening() -> Iterator[socket.socket]:
    """A socket to serve on."""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        yield sock


def made(
    sock: socket.socket,
    heartbeat: Callable[[], None],
    new_loop: Callable[[], asyncio.AbstractEventLoop] = asyncio.new_event_loop,
    state: WorkerState | None = None,
) -> Service:
    """Return the service of a script on a socket of the test's."""
    script = Script(load_module("core_plain"))
    script.init()
    settings = Settings()
    loaded = Loaded(script, Swagger(settings, script.run), lambda: None, 0.0)
    return Service(loaded, settings, [sock.dup()], new_loop, heartbeat, state=state)


def ask(sock: socket.socket) -> bytes:
    """Return the answer to a request over a connection of its own."""
    with socket.create_connection(sock.getsockname(), WAIT_S) as client:
        client.sendall(b'POST /score HTTP/1.1\r\nHost: t\r\nContent-Length: 13\r\n\r\n{"data": [1]}')
        return client.recv(1000)


def test_a_stop_that_comes_too_late(listening: socket.socket) -> None:
    """A second signal after the I/O loop has ended, as a process group gets it, does no harm."""

    def stop() -> None:
        service.stop()

    service = made(listening, stop)
    service.run()
    service.stop()


def test_a_failing_beat_is_not_the_last(listening: socket.socket, caplog: pytest.LogCaptureFixture) -> None:
    """What fails in one turn of what is done a few times a second is logged, and does not end it."""
    beats: list[int] = []

    def beat() -> None:
        beats.append(len(beats))
        if len(beats) == 2:
            raise OSError("no descriptor is left")
        if len(beats) == 4:
            service.stop()

    service = made(listening, beat)
    with caplog.at_level(logging.ERROR, "asyncio"):
        service.run()
    assert len(beats) >= 4
    assert "no descriptor is left" in caplog.text


def test_a_worker_that_is_in_its_own_way_gives_turns(listening: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the I/O thread finds of itself, a few times a second, is what the scoring thread goes by."""

    class High(Contention):
        """Finds contention always."""

        def check(self, answered: int) -> bool:
            return answered == 0

    gives_turns: list[bool] = []

    def beat() -> None:
        gives_turns.append(service._runner.gives_turns)
        if len(gives_turns) == 2:
            service.stop()

    monkeypatch.setattr(under_test, "Contention", High)
    service = made(listening, beat)
    service.run()
    assert gives_turns[:2] == [False, True]


def test_log_lines_are_written_before_run(listening: socket.socket) -> None:
    """The runner has the log write its lines before it hands requests over."""
    found: list[object] = []

    def beat() -> None:
        found.append(service._runner.before_run)
        service.stop()

    service = made(listening, beat)
    service.run()
    assert getattr(found[-1], "__func__", None) is RequestLog.before_run


def test_a_worker_says_how_it_is(listening: socket.socket) -> None:
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
    service = made(listening, beat, state=state)
    service.run()
    assert conditions[0] == 0
    assert conditions[-1] == 1 << REASONS.index("stopping")
    assert board.cells[start + HEARTBEAT] > time.monotonic() > began + 1000


@pytest.mark.parametrize("workers", [1, 2])
def test_a_connection_that_is_being_opened_as_the_stop_begins(
    workers: int, listening: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that the loop has taken, but that nobody knows of yet when the stop begins, still gets its answer."""

    class LastConnection(Connections):
        """Has the stop begin after the connection was taken and before it is open."""

        def __call__(self) -> HttpProtocol:
            service.stop()
            return super().__call__()

    monkeypatch.setattr(under_test, "Connections", LastConnection)
    service = made(listening, lambda: None, uvloop.new_event_loop)
    if workers > 1:
        board = Board(workers, workers)
        slot = board.take()
        assert slot is not None
        service.take_turns(Load(board, slot))
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(ask, listening)
        copy_context().run(service.run)  # it leaves the request's id in the context that it runs in
    assert answer.result().startswith(b"HTTP/1.1 200 ")


def test_a_worker_that_refuses_requests_is_not_ready(listening: socket.socket) -> None:
    """While requests are refused for the load the worker says that it is overloaded, and takes that back after."""
    board = Board(1, 1)
    state = WorkerState(board, board.take())
    conditions: list[int] = []

    def beat() -> None:
        conditions.append(int(board.cells[board.start_of(0) + CONDITION]))
        service._runner.admission.is_refusing = len(conditions) == 1
        if len(conditions) == 3:
            service.stop()

    state.begin(1, time.monotonic())
    service = made(listening, beat, state=state)
    service.run()
    assert conditions[:3] == [0, 1 << REASONS.index("overloaded"), 0]
