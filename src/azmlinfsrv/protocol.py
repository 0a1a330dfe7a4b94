"""HTTP/1.1 connections (RFC 9112) on httptools: from bytes to requests, from responses to bytes.

Parsing is llhttp's; what is ours is order, limits, timeouts, and an answer in JSON for every error.
Everything here runs on the I/O thread.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections import deque
from typing import Any

from azmlinfsrv import wire
from azmlinfsrv.connections import ConnectionSet
from azmlinfsrv.errors import OverloadError, ProtocolError, RequestError
from azmlinfsrv.long_body import LONG_BYTES, Connection, LongBody
from azmlinfsrv.messages import Gate, Request, Response
from azmlinfsrv.parser import RequestParser
from azmlinfsrv.sockets import is_internal_peer

_LINGER_S = 5.0
_LINGER_BYTES = 1024 * 1024 * 1024
_COPY_BYTES = 64 * 1024
# What the log says of a request whose client left before its answer, as nginx does.
CLIENT_LEFT = 499
# Has nginx pass each chunk on as it comes; nginx keeps the header to itself.
_UNBUFFERED = ("X-Accel-Buffering", "no")


class Connections(ConnectionSet):
    """Makes the connections of a worker, which share what it holds."""

    def __call__(self) -> HttpProtocol:
        """Return the protocol of a new connection."""
        return HttpProtocol(self)


def _address(name: Any) -> tuple[str, int]:
    return (str(name[0]), int(name[1])) if isinstance(name, tuple) else ("", 0)


class HttpProtocol(Connection):
    """One connection; also the `Reply` of the request that is being answered."""

    def __init__(self, shared: Connections) -> None:
        self._shared = shared
        self._limits = shared.limits
        self._parser: RequestParser = None  # type: ignore[assignment]  # made with the connection
        self._transport: Any = None
        self._began = self._touched = shared.now()
        self._paused_writing = False
        self._unreleased: list[tuple[Gate, int]] = []
        # The request that is being answered, and those that wait behind it, each with whether to keep alive.
        self._current: Request | None = None
        self._keep_alive = True
        self._waiting: deque[tuple[Request, bool, RequestError | None]] = deque()
        self._last_received = False
        self._starting = False
        self._half_closed = False
        self._owes_continue = False
        self._held_bytes = 0
        # The answer that is being sent.
        self._gate: Gate | None = None
        self._status = self._sent_bytes = 0
        self._chunked = self._bodyless = False
        self._left: int | None = None
        # A connection that only waits for its client to close.
        self._lingering_since: float | None = None
        self._unsent = self._dropped_bytes = 0

    # -- asyncio.Protocol --------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Note the addresses."""
        self._transport = transport
        peer, own = transport.get_extra_info("peername"), transport.get_extra_info("sockname")
        addresses = self._shared.scheme, _address(peer), _address(own)
        forwarded = self._shared.behind_nginx and is_internal_peer(addresses[1][0])
        admit = self._shared.app.admit
        self._parser = RequestParser(self._limits, self._deliver, self._expected, addresses, forwarded, admit)
        self._shared.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell a stream's producer that nobody reads any more."""
        self._shared.remove(self)
        self._transport = None
        self._let_go()
        for request, _, _ in self._waiting:
            request.disconnected = True
        self._waiting.clear()
        if self._current is not None and not self._half_closed:
            self._shared.app.left()
        for gate, count in self._unreleased:
            gate.release(count)
        if self._gate is not None:
            self._gate.close()
        self._give_up()

    def data_received(self, data: bytes) -> None:
        """Feed the parser, and answer what it cannot accept."""
        if self._last_received:
            # Dropped: the connection ends with the answers that are on their way.
            self._dropped_bytes += len(data)
            if self._dropped_bytes > _LINGER_BYTES:
                self.abort_connection()
            return
        self._touched = self._shared.now()
        try:
            self._parser.feed(data)
            if self._parser.receiving:
                self._hold()
                self._continue()
                if self._parser.rest_bytes > LONG_BYTES:
                    LongBody(self, self._parser, self._transport)
                    self._hold()
        except (ProtocolError, OverloadError) as error:
            self._reject(error)
        if self._parser.begun:
            self._began = self._touched
        self._pause_behind()

    def rest_arrived(self) -> None:
        """Take note of a piece of a long body, which may have been the last."""
        self._touched = self._shared.now()
        try:
            if self._parser.receiving:
                self._hold()
        except OverloadError as error:
            self._reject(error)
        self._pause_behind()

    def _pause_behind(self) -> None:
        """Read no further than a request that has to wait for the ones before it."""
        if self._waiting and self._transport is not None:
            self._transport.pause_reading()

    def eof_received(self) -> bool:
        """Keep a half-closed connection open for the answers that are still to come."""
        self._half_closed = True
        if self._current is not None:
            self._shared.app.left()
        if self._parser.receiving and not self._last_received:
            self._reject(ProtocolError("The request ended before it was complete"))
        self._check_half_closed(self._shared.now())
        return self._current is not None and self._transport.can_write_eof()  # TLS has no half-closed connections

    def pause_writing(self) -> None:
        """The client is slow: hold back streams."""
        self._paused_writing = True
        self._touched = self._shared.now()
        self._unsent = self._transport.get_write_buffer_size()

    def resume_writing(self) -> None:
        """The client has caught up."""
        self._paused_writing = False
        unreleased, self._unreleased = self._unreleased, []
        for gate, count in unreleased:
            gate.release(count)

    # -- requests ----------------------------------------------------------------------------------------------

    def _deliver(self, request: Request, keep_alive: bool) -> None:
        """Answer a request that is complete, or have it wait for the ones before it."""
        self._owes_continue = False
        if self._held_bytes:
            self._let_go()
        self._last_received = not keep_alive
        if self._current is None and not self._waiting:
            self._start(request, keep_alive, None)
        else:
            self._waiting.append((request, keep_alive, None))

    def _expected(self) -> None:
        """Have the client send the body, once that is known to be taken and earlier requests are answered."""
        self._owes_continue = True

    def _continue(self) -> None:
        if self._owes_continue and self._current is None:
            self._owes_continue = False
            self._transport.write(wire.CONTINUE)

    def _hold(self) -> None:
        """Count what has arrived of a body that is not whole.

        Raises:
            OverloadError: there is no room for it.
        """
        admission = self._shared.admission
        if admission is not None and self._parser.in_body:
            held, self._held_bytes = self._held_bytes, 0
            self._held_bytes = admission.arriving(held, *self._parser.body_bytes)

    def _let_go(self) -> None:
        """Count a body no longer as arriving: it is whole, or will never be."""
        held, self._held_bytes = self._held_bytes, 0
        if self._shared.admission is not None:
            self._shared.admission.held_bytes -= held

    def _start(self, request: Request, keep_alive: bool, error: RequestError | None) -> None:
        self._current = request
        self._status = 0
        self._keep_alive = keep_alive and error is None
        if error is None:
            self._shared.app.handle(request, self)
        else:
            self._shared.app.reject(request, self, error)

    def _next(self) -> None:
        """Start the requests that wait, one after the other."""
        if self._starting:
            return
        self._starting = True
        while self._waiting and self._current is None and self._transport is not None:
            self._start(*self._waiting.popleft())
        self._starting = False
        if not self._waiting and self._transport is not None and self._lingering_since is None:
            self._transport.resume_reading()

    def _reject(self, error: RequestError) -> None:
        """Answer an error once the requests before it are answered, and take no more."""
        if self._last_received:
            return
        self._let_go()
        reader = self._transport.get_protocol()
        if isinstance(reader, LongBody):
            reader.end()
        self._last_received = True
        request = self._parser.give_up()
        if self._current is None:
            self._start(request, False, error)
        else:
            self._waiting.append((request, False, error))

    # -- Reply -------------------------------------------------------------------------------------------------

    def send(self, response: Response) -> None:
        """Send a whole answer, or the head of a streamed one."""
        request, transport = self._current, self._transport
        self._status, self._sent_bytes = response.status, 0
        if request is None or transport is None:
            self._status = CLIENT_LEFT
            if response.stream is None:
                self._finish()
            return
        half_closed = self._half_closed and not self._waiting
        keep_alive = self._keep_alive and not (response.close or self._shared.closing or half_closed)
        if response.stream is not None and request.version == "1.0":
            keep_alive = False
        self._keep_alive = keep_alive
        if response.stream is not None and self._shared.behind_nginx:
            response.headers.append(_UNBUFFERED)
        head, self._chunked, self._left = wire.head(request, response, self._shared.clock.http_date(), keep_alive)
        self._bodyless = request.method == "HEAD" or not wire.has_body(response.status)
        self._touched = self._shared.now()
        if response.stream is not None:
            transport.write(head)
            return
        body = b"" if self._bodyless else response.body
        self._sent_bytes = len(body)
        if len(body) < _COPY_BYTES:
            transport.write(head + body)
        else:
            transport.write(head)
            transport.write(body)
        self._finish()

    def write(self, chunk: bytes, gate: Gate) -> None:
        """Send one chunk of a stream."""
        if self._transport is None:
            gate.close()
            gate.release(len(chunk))
            return
        self._gate = gate
        self._touched = self._shared.now()
        piece = chunk if self._left is None else chunk[: self._left]
        if piece and not self._bodyless:
            self._sent_bytes += len(piece)
            if self._left is not None:
                self._left -= len(piece)
            self._transport.write(wire.chunk(piece) if self._chunked else piece)
        if self._paused_writing:
            self._unreleased.append((gate, len(chunk)))
        else:
            gate.release(len(chunk))

    def end(self) -> None:
        """Finish a stream; one that is shorter than it said ends its connection (RFC 9112, 8)."""
        if self._left and not self._bodyless:
            self._keep_alive = False
        if self._transport is not None and self._chunked and not self._bodyless:
            self._transport.write(wire.LAST_CHUNK)
        self._finish()

    def abort(self) -> None:
        """Break a stream off."""
        self._log()
        self._current = None
        self.abort_connection()

    def _log(self) -> None:
        if self._current is not None:
            self._shared.app.sent(self._current, self._status, self._sent_bytes)

    def _finish(self) -> None:
        """End the answer of the current request, and go on with the next or close."""
        self._log()
        self._current = None
        self._gate = None
        # While it was answered, the next request may have had to wait: its time begins anew.
        self._began = self._touched = self._shared.now()
        if self._transport is None:
            return
        if self._keep_alive:
            if self._waiting:
                self._next()
            else:
                self._continue()
            return
        self._waiting.clear()
        self._last_received = True
        self._linger()

    # -- closing -----------------------------------------------------------------------------------------------

    def _linger(self) -> None:
        """Close without losing the answer: send FIN, then drop what the client still sends until it closes."""
        has_fin = self._transport.can_write_eof()  # over TLS the client sees the end by the answer's length
        if self._half_closed or not (has_fin or self._parser.is_abandoned):
            self._transport.close()
            return
        self._lingering_since = self._shared.now()
        with contextlib.suppress(OSError, NotImplementedError):  # the client has reset it; TLS has no FIN of its own
            self._transport.write_eof()
        self._transport.resume_reading()

    def close_if_idle(self, since: float = math.inf) -> None:
        """Close if no request is in progress, and nothing has come or gone since then."""
        is_idle = self._current is None and not self._parser.receiving and self._touched <= since
        if is_idle and self._transport is not None:
            self._last_received = True
            self._transport.close()

    def abort_connection(self) -> None:
        """Close at once, dropping what has not been sent."""
        if self._transport is not None:
            self._transport.abort()

    def check_timeout(self, now: float) -> None:
        """Close, with an answer where a request has begun, if the client takes too long.

        Args:
            now: time of the shared clock, in seconds.
        """
        unsent = self._transport.get_write_buffer_size()
        if unsent:
            self._check_reading(now, unsent)
        elif self._lingering_since is not None:
            if now - self._lingering_since > _LINGER_S:
                self.abort_connection()
        elif self._current is not None:
            self._check_half_closed(now)
        elif self._parser.receiving:
            self._check_arrival(now)
        elif now - self._touched > self._limits.keep_alive_s:
            self._last_received = True
            self._transport.close()

    def _check_reading(self, now: float, unsent: int) -> None:
        """Close if the client has read nothing for too long."""
        if unsent != self._unsent:
            self._unsent, self._touched = unsent, now
        elif now - self._touched > self._limits.write_s:
            self.abort_connection()
        if self._lingering_since is not None:
            self._lingering_since = now

    def _check_arrival(self, now: float) -> None:
        """Answer 408 if the request has taken too long to arrive."""
        limits, in_body = self._limits, self._parser.in_body
        waited = now - (self._touched if in_body else self._began)
        if waited > (limits.body_s if in_body else limits.header_s) or now - self._began > limits.request_s:
            self._reject(ProtocolError("The request took too long to arrive", 408))

    def _check_half_closed(self, now: float) -> None:
        """Take a client to have left that has ended its side, once nothing has come or gone for a while."""
        if self._half_closed and now - self._touched >= self._shared.half_close_s:
            if self._status:
                self.abort_connection()  # within a stream
            else:
                self._give_up()

    def _give_up(self) -> None:
        """Drop the request that is being answered, if that is possible: nobody waits for it."""
        request = self._current
        if request is not None and not request.disconnected:
            request.disconnected = True
            self._shared.app.abandon(request)
