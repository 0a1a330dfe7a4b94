"""How workers share connections out: several acceptors of one listening socket, in one loop."""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager

import pytest

from azmlinfsrv import acceptor
from azmlinfsrv.acceptor import LEAVING, Acceptor, Load
from azmlinfsrv.telemetry.board import Board

WAIT_S = 15

Scenario = Callable[["Sharing"], Coroutine[None, None, None]]


class Shortage(socket.socket):
    """A listening socket for whose first connection no descriptor is left."""

    failures = 1

    def accept(self) -> tuple[socket.socket, object]:
        """Fail, then accept."""
        if self.failures:
            self.failures -= 1
            raise OSError(errno.EMFILE, "Too many open files")
        return super().accept()


class Worker:
    """A worker that keeps every connection it gets.

    Attributes:
        taken: how many it has.
        went_first: for each, whether no other worker had less to do between its being taken and its being open.
    """

    def __init__(self, sharing: Sharing, sock: socket.socket) -> None:
        slot = sharing.board.take()
        assert slot is not None
        self.slot, self.load = slot, Load(sharing.board, slot)
        self.taken = 0
        self.went_first: list[bool] = []
        self.requests = 0
        self._sharing = sharing
        self.acceptor = Acceptor(asyncio.get_running_loop(), sock, self._connection, self.load)
        self.tell()

    def tell(self, requests: int | None = None) -> None:
        """Say what there is to do."""
        self.requests = self.requests if requests is None else requests
        self.load.tell(self.requests, self.taken)

    def _connection(self) -> asyncio.Protocol:
        self.went_first.append(self.load.is_least())
        self.taken += 1
        self.tell()
        self._sharing.arrived.release()
        return asyncio.Protocol()


class Sharing:
    """Workers on one socket, and their clients."""

    def __init__(self) -> None:
        self.board = Board(8, 2)
        self.arrived = asyncio.Semaphore(0)
        self.listening = socket.create_server(("127.0.0.1", 0))
        self._open: list[socket.socket] = []
        self._workers: list[Worker] = []

    def worker(self, kind: type[socket.socket] = socket.socket, *, takes: bool = True) -> Worker:
        """Return a worker with a socket of its own, which takes connections or is stuck."""
        worker = Worker(self, kind(fileno=self.listening.dup().detach()))
        self._workers.append(worker)
        if takes:
            worker.acceptor.open()
        return worker

    async def connect(self, count: int = 1) -> None:
        """Open connections one after another; each stays open."""
        for _ in range(count):
            self._open.append(socket.create_connection(self.listening.getsockname(), WAIT_S))
            await asyncio.wait_for(self.arrived.acquire(), WAIT_S)

    def close(self) -> None:
        """Close everything."""
        for worker in self._workers:
            worker.acceptor.close()
        for each in (*self._open, self.listening):
            each.close()


@asynccontextmanager
async def made() -> AsyncIterator[Sharing]:
    """Give workers and clients to a test."""
    sharing = Sharing()
    try:
        yield sharing
    finally:
        sharing.close()
        await asyncio.sleep(0)  # transports close in the next turn


def play(scenario: Scenario) -> None:
    """Run a scenario in a loop of its own."""

    async def main() -> None:
        async with made() as sharing:
            await scenario(sharing)
        for transport_task in asyncio.all_tasks() - {asyncio.current_task()}:
            await transport_task

    asyncio.run(main())


def test_a_busy_worker_leaves_connections_to_an_idle_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """While one worker has a request, the other takes every connection, however many it has."""
    monkeypatch.setattr(acceptor, "_LEAVE_S", WAIT_S)  # this process may stand still for longer than a millisecond

    async def scenario(sharing: Sharing) -> None:
        busy, idle = sharing.worker(), sharing.worker()
        busy.tell(requests=1)
        await sharing.connect(6)
        assert (busy.taken, idle.taken) == (0, 6)

    play(scenario)


def test_idle_workers_share_connections_out() -> None:
    """Workers with nothing to do get the same number."""

    async def scenario(sharing: Sharing) -> None:
        workers = [sharing.worker() for _ in range(3)]
        await sharing.connect(9)
        assert [worker.taken for worker in workers] == [3, 3, 3]

    play(scenario)


def test_connections_that_come_together_are_shared_out() -> None:
    """Nor does the first to wake take all that are there."""

    async def scenario(sharing: Sharing) -> None:
        clients = [socket.create_connection(sharing.listening.getsockname(), WAIT_S) for _ in range(8)]
        workers = [sharing.worker() for _ in range(4)]
        for _ in clients:
            await asyncio.wait_for(sharing.arrived.acquire(), WAIT_S)
        assert [worker.taken for worker in workers] == [2] * 4
        for client in clients:
            client.close()

    play(scenario)


def test_a_busy_worker_takes_what_others_leave() -> None:
    """Where the worker with less to do does not take a connection, because it is stuck, another does."""

    async def scenario(sharing: Sharing) -> None:
        stuck, busy = sharing.worker(takes=False), sharing.worker()
        busy.tell(requests=3)
        await sharing.connect(3)
        assert (stuck.taken, busy.taken) == (0, 3)

    play(scenario)


def test_a_connection_counts_as_soon_as_it_is_taken() -> None:
    """One that is not open yet is something to do: of the next, which may be there already, others go first."""

    async def scenario(sharing: Sharing) -> None:
        taking = sharing.worker()
        sharing.worker(takes=False)
        assert taking.load.is_least()
        await sharing.connect()
        assert taking.went_first == [False]

    play(scenario)


@pytest.mark.parametrize("how", ["withdrawn", "ended"])
def test_workers_that_are_gone_do_not_count(how: str) -> None:
    """Nobody waits for a worker that stops or has ended."""

    async def scenario(sharing: Sharing) -> None:
        gone, busy = sharing.worker(takes=False), sharing.worker()
        busy.tell(requests=1)
        assert not busy.load.is_least()
        if how == "withdrawn":
            gone.load.withdraw()
        else:
            sharing.board.release(gone.slot)
        assert busy.load.is_least()

    play(scenario)


def test_what_the_others_have_to_do() -> None:
    """A worker sees how many requests the others have; that one leaves, or has connections, is no request."""

    async def scenario(sharing: Sharing) -> None:
        workers = [sharing.worker(takes=False) for _ in range(3)]
        assert workers[0].load.others() == 0
        workers[0].tell(requests=100)
        workers[1].tell(requests=3)
        workers[2].load.tell(4 + LEAVING, 1000)
        assert [worker.load.others() for worker in workers] == [7, 104, 103]
        workers[1].load.withdraw()
        assert workers[0].load.others() == 4

    play(scenario)


def test_no_descriptor_left(caplog: pytest.LogCaptureFixture) -> None:
    """A connection for which there is no descriptor waits until there is one, and the log says why."""

    async def scenario(sharing: Sharing) -> None:
        worker = sharing.worker(Shortage)
        await sharing.connect(2)
        assert worker.taken == 2

    play(scenario)
    assert "No connection can be taken: [Errno 24] Too many open files" in caplog.text


def test_closing() -> None:
    """After `close`, also within a pause, a worker takes nothing, and leaves it to others."""

    async def scenario(sharing: Sharing) -> None:
        closed, other = sharing.worker(), sharing.worker()
        closed.tell(requests=1)
        await sharing.connect()
        closed.acceptor.close()
        closed.acceptor.close()
        other.tell(requests=9)
        await sharing.connect(3)
        assert (closed.taken, other.taken) == (0, 4)

    play(scenario)
