"""The rest of a long body, read from the socket straight to where it stays.

Whatever else reads it copies each piece several times: the loop into an object, llhttp's wrapper into another, and all
of them are joined in the end. For a body of 2 MB that was a tenth of a request's time.
"""

from __future__ import annotations

import asyncio
from typing import Any

from azmlinfsrv.parser import RequestParser

# From this length on what is still to come of a body is read here.
LONG_BYTES = 64 * 1024
# A client that only says that it will send much gets no more memory than so many times what it has sent.
_AHEAD = 32


class Connection(asyncio.Protocol):
    """The connection whose place is taken meanwhile."""

    def rest_arrived(self) -> None:
        """Take note that a piece has come."""


class LongBody(asyncio.BufferedProtocol):
    """Takes the place of a connection's protocol until a body is whole, and has the parser deliver its request.

    Args:
        connection: is told of all that happens, and has its place back in the end.
        parser: has parsed the head of the request.
        transport: of the connection.
    """

    def __init__(self, connection: Connection, parser: RequestParser, transport: Any) -> None:
        self._connection = connection
        self._parser = parser
        self._transport = transport
        self._is_over = False
        self._length, pieces = parser.give_body()
        self._content = bytearray().join(pieces)
        self._arrived = len(self._content)
        self._grow()
        take_place(transport, self)

    def end(self) -> bytearray:
        """Give the connection its place back; returns what there is of the body, which is kept no longer.

        uvloop holds on to who has had the place, for as long as the connection is there.
        """
        content, self._content, self._view = self._content, bytearray(), memoryview(b"")
        self._is_over = True
        take_place(self._transport, self._connection)
        return content

    def _grow(self) -> None:
        """Make room ahead of what has arrived: other memory, because the loop may still know of what there was."""
        grown = bytearray(min(self._length, _AHEAD * self._arrived))
        grown[: self._arrived] = self._content
        self._content, self._view = grown, memoryview(grown)
        self._parser.count_body(len(grown))

    def get_buffer(self, sizehint: int) -> memoryview:
        """Return where the next piece is to be: in the body, never beyond its end."""
        if self._is_over:  # some loops have read what is behind it, and go on with this protocol
            self._view = memoryview(bytearray(max(sizehint, 1)))
            return self._view
        if self._arrived == len(self._content):
            self._grow()
        return self._view[self._arrived :]

    def buffer_updated(self, nbytes: int) -> None:
        """Take note of a piece."""
        if self._is_over:
            self._connection.data_received(bytes(self._view[:nbytes]))
            return
        self._arrived += nbytes
        if self._arrived == self._length:
            self._parser.take_body(self.end())
        self._connection.rest_arrived()

    def eof_received(self) -> bool:
        """See `asyncio.Protocol`."""
        return bool(self._connection.eof_received())

    def connection_lost(self, exc: Exception | None) -> None:
        """See `asyncio.Protocol`."""
        self._connection.connection_lost(exc)

    def pause_writing(self) -> None:
        """See `asyncio.Protocol`."""
        self._connection.pause_writing()

    def resume_writing(self) -> None:
        """See `asyncio.Protocol`."""
        self._connection.resume_writing()


def take_place(transport: Any, protocol: asyncio.BaseProtocol) -> None:
    """Have a transport tell this protocol from now on; uvloop looks at its kind only where reading begins."""
    transport.pause_reading()
    transport.set_protocol(protocol)
    transport.resume_reading()
