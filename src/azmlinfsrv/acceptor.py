"""How several workers share connections out: the one with the least to do takes the next.

All workers wait for connections on the same sockets. Left to themselves, the first to wake takes all that are there,
and requests queue behind one `run()` while other workers have nothing to do.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING

from azmlinfsrv.sockets import BACKLOG
from azmlinfsrv.telemetry.board import LOAD, TAKEN, Board

if TYPE_CHECKING:
    import ssl

logger = logging.getLogger("azmlinfsrv")

# How long a worker with more to do than another leaves a connection to it.
_LEAVE_S = 0.001
# How long none is taken when there is no descriptor or memory for it.
_SHORT_OF_S = 0.1
# As much as this many requests more to do: a worker that leaves has it, and others take the connections.
LEAVING = 1 << 16
# A request that waits or runs weighs more than any number of connections.
_REQUEST = 1 << 32


class Load:
    """What a worker has to do, for all of them to see; used on the I/O thread.

    Args:
        board: the memory that the workers share.
        slot: the worker's slot in it.
    """

    def __init__(self, board: Board, slot: int) -> None:
        self._board = board
        self._cells = board.cells
        self._at = board.start_of(slot) + LOAD

    def tell(self, requests: int, connections: int) -> None:
        """Say how many requests are not answered yet, and how many connections are open."""
        self._cells[self._at] = 1 + requests * _REQUEST + connections

    def others(self) -> int:
        """Return how many requests the other workers have not answered yet."""
        cells, board = self._cells, self._board
        starts = (board.start_of(slot) + LOAD for slot in range(int(cells[TAKEN])))
        return sum(int(cells[at] // _REQUEST) % LEAVING for at in starts if at != self._at)

    def add_connection(self) -> None:
        """Count a connection that is being opened, until `tell` is called again."""
        self._cells[self._at] += 1

    def withdraw(self) -> None:
        """Say that this worker takes no more connections."""
        self._cells[self._at] = 0

    def is_least(self) -> bool:
        """Return whether no worker that takes connections has less to do."""
        cells, board = self._cells, self._board
        mine = cells[self._at]
        return not any(0 < cells[board.start_of(slot) + LOAD] < mine for slot in range(int(cells[TAKEN])))


class Acceptor:
    """Takes the connections of a listening socket one by one, while no other worker has less to do.

    A worker that has more waits a millisecond, and then takes one: the others may be stuck.

    Args:
        loop: the I/O loop.
        sock: the socket; closed by `close`.
        connections: makes the protocol of a new connection.
        load: what this worker has to do.
        tls: the context of connections that are encrypted, or None.
        handshake_s: how long a client may take to agree on the encryption.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        sock: socket.socket,
        connections: Callable[[], asyncio.Protocol],
        load: Load,
        tls: ssl.SSLContext | None = None,
        handshake_s: float | None = None,
    ) -> None:
        self._tls, self._handshake_s = tls, handshake_s
        self._loop = loop
        self._sock = sock
        self._connections = connections
        self._load = load
        self._opening: set[asyncio.Task[object]] = set()
        self._closed = False

    def open(self) -> None:
        """Begin to take connections."""
        self._sock.setblocking(False)
        self._sock.listen(BACKLOG)
        self._loop.add_reader(self._sock.fileno(), self._ready)

    def close(self) -> None:
        """Take no more connections."""
        if not self._closed:
            self._closed = True
            self._loop.remove_reader(self._sock.fileno())
            self._sock.close()

    def _ready(self) -> None:
        if self._load.is_least():
            self._take()
        else:
            self._pause(_LEAVE_S)

    def _pause(self, seconds: float) -> None:
        self._loop.remove_reader(self._sock.fileno())
        self._loop.call_later(seconds, self._resume)

    def _resume(self) -> None:
        if not self._closed:
            self._loop.add_reader(self._sock.fileno(), self._ready)
            self._take()

    def _take(self) -> None:
        try:
            connection, _ = self._sock.accept()
        except (BlockingIOError, InterruptedError, ConnectionError):
            return  # another worker has it, or the client has left
        except OSError as error:
            logger.warning("No connection can be taken: %s", error)
            self._pause(_SHORT_OF_S)
            return
        self._load.add_connection()
        opening = self._loop.create_task(self._serve(connection))
        self._opening.add(opening)
        opening.add_done_callback(self._opening.discard)

    async def _serve(self, connection: socket.socket) -> None:
        try:
            await self._loop.connect_accepted_socket(
                self._connections, connection, ssl=self._tls, ssl_handshake_timeout=self._handshake_s
            )
        except OSError:
            connection.close()  # the client has left, or does not speak TLS


def end_handshakes(loop: asyncio.AbstractEventLoop) -> None:
    """Break off the connections that are still being opened, on a loop that has been stopped."""
    opening = asyncio.all_tasks(loop)
    for task in opening:
        task.cancel()
    if opening:
        loop.run_until_complete(asyncio.wait(opening))
