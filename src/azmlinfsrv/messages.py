"""Requests and responses, free of I/O, and the gate between a stream's producer and its client."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, Protocol

from azmlinfsrv.identity import RequestIds

# What was read in pieces cannot be had as bytes without a copy.
Body = bytes | bytearray

JSON = "application/json"
HTML = "text/html; charset=utf-8"

_NO_IDS = RequestIds("", "", "")


class Request:
    """One HTTP request, whole.

    Attributes:
        method: HTTP method, upper case.
        target: request target as received.
        path: path of the target, percent-decoded.
        query: query of the target as received, without ``?``.
        headers: lower-case name to value; repeated fields are joined by commas (RFC 9110, 5.2).
        body: content, decoded from its transfer coding; on a scoring thread also from its content coding.
        body_bytes: length of the body as it was sent.
        version: ``1.1`` or ``1.0``.
        client: address and port of the peer.
        scheme: ``http`` or ``https``.
        server: address and port that the peer connected to.
        received: `time.perf_counter` when the last byte had arrived.
        ids: the request's ids; set by the application.
        reply: where the answer goes; set by the application.
        route: path of the route that took the request, or "" where it is not logged.
        matched: whether a route took the request.
        disconnected: whether the client is known to have left.
        answered: whether it has its answer, or the head of a streamed one: what comes later is dropped.
        is_aborted: whether its streamed answer was broken off.
        response: its answer; set only where telemetry wants to know.
        taken: `time.perf_counter` when a scoring thread took it from the queue; 0 where it did not, or nobody measures.
        run_s: how long ``run()`` took, failed or not; 0 where it was not called, or another of its batch has it.
        timed_out: whether ``run()`` took too long.
        deadline: `time.perf_counter` until which its caller waits; 0 where it said nothing.
        dropped: whether it was answered without having had its turn.
        inference: what it says as one of the Open Inference Protocol; there once that has been read, and only then.
    """

    inference: Any

    __slots__ = (
        "answered",
        "body",
        "body_bytes",
        "client",
        "deadline",
        "disconnected",
        "dropped",
        "headers",
        "ids",
        "inference",
        "is_aborted",
        "matched",
        "method",
        "path",
        "query",
        "received",
        "reply",
        "response",
        "route",
        "run_s",
        "scheme",
        "server",
        "taken",
        "target",
        "timed_out",
        "version",
    )

    def __init__(  # noqa: PLR0913 - the parts of a request
        self,
        method: str,
        target: bytes,
        path: str,
        query: bytes,
        headers: dict[bytes, bytes],
        body: Body,
        version: str,
        client: tuple[str, int],
        received: float,
        scheme: str = "http",
        server: tuple[str, int] = ("", 0),
    ) -> None:
        self.method = method
        self.target = target
        self.path = path
        self.query = query
        self.headers = headers
        self.body = body
        self.body_bytes = len(body)
        self.version = version
        self.client = client
        self.scheme = scheme
        self.server = server
        self.received = received
        self.ids = _NO_IDS
        self.reply: Reply = NO_REPLY
        self.route = ""
        self.matched = False
        self.disconnected = False
        self.is_aborted = False
        self.response: Response | None = None
        self.taken = self.run_s = self.deadline = 0.0
        self.timed_out = self.answered = self.dropped = False

    def header(self, name: bytes) -> str:
        """Return the value of a header (lower-case name), or "" where it is absent."""
        value = self.headers.get(name)
        return value.decode("latin-1") if value is not None else ""


class Response:
    """One HTTP response.

    Attributes:
        status: status code.
        headers: fields in order; a name may stand more than once.
        body: content, where it is not streamed.
        stream: chunks of content, each sent as soon as it is made; iterated on the scoring thread.
        reason: reason phrase, or "" for the usual one.
        exec_ms: how long ``run()`` took, or None where it was not called to its end.
        close: whether the connection must be closed after it.
        error: the kind and text of the exception that it is the answer to, or "".
    """

    __slots__ = ("body", "close", "error", "exec_ms", "headers", "reason", "status", "stream")

    def __init__(
        self,
        status: int,
        body: bytes = b"",
        headers: list[tuple[str, str]] | None = None,
        stream: Iterator[bytes] | AsyncIterator[bytes] | None = None,
        reason: str = "",
    ) -> None:
        self.status = status
        self.body = body
        self.headers: list[tuple[str, str]] = headers if headers is not None else []
        self.stream = stream
        self.reason = reason
        self.exec_ms: float | None = None
        self.close = False
        self.error = ""


class Reply(Protocol):
    """Where the answer of one request goes. Every method is called on the I/O thread."""

    def send(self, response: Response) -> None:
        """Send a whole answer, or the head of a streamed one."""

    def write(self, chunk: bytes, gate: Gate) -> None:
        """Send one chunk of a streamed answer, and release its bytes at the gate once accepted."""

    def end(self) -> None:
        """Finish a streamed answer."""

    def abort(self) -> None:
        """Break a streamed answer off, so that the client sees that it is not whole."""


class _NoReply:
    def send(self, response: Response) -> None:
        """Do nothing."""

    def write(self, chunk: bytes, gate: Gate) -> None:
        """Do nothing."""

    def end(self) -> None:
        """Do nothing."""

    def abort(self) -> None:
        """Do nothing."""


NO_REPLY: Reply = _NoReply()


class ClientGoneError(Exception):
    """The client of a stream has left, or has not read for too long."""


class Gate:
    """Holds the producer of a stream back while its client is slow.

    The producer (scoring thread) takes bytes before it hands a chunk over; the connection (I/O thread) releases
    them once the chunk is on its way.
    """

    def __init__(self, limit_bytes: int, timeout_s: float) -> None:
        self._condition = threading.Condition()
        self._limit = limit_bytes
        self._timeout = timeout_s
        self._held = 0
        self._closed = False
        self._waiter: Callable[[], Any] | None = None

    def take(self, count: int) -> None:
        """Wait until `count` more bytes may be handed over.

        Raises:
            ClientGoneError: the client left, or read nothing for the whole timeout.
        """
        with self._condition:
            if not self._condition.wait_for(self._open, self._timeout):
                self._closed = True
            self._hold(count)

    def try_take(self, count: int, wake: Callable[[], Any]) -> bool:
        """Take without waiting; where that is not possible yet, `wake` is called (on any thread) once it is.

        Raises:
            ClientGoneError: the client left.
        """
        with self._condition:
            if self._open():
                self._hold(count)
                return True
            self._waiter = wake
            return False

    def release(self, count: int) -> None:
        """Give bytes back: the connection has taken them over."""
        with self._condition:
            self._held -= count
            self._wake()

    def close(self) -> None:
        """Tell the producer that nobody reads any more."""
        with self._condition:
            self._closed = True
            self._wake()

    def _open(self) -> bool:
        return self._closed or self._held < self._limit

    def _hold(self, count: int) -> None:
        if self._closed:
            raise ClientGoneError
        self._held += count

    def _wake(self) -> None:
        self._condition.notify_all()
        if self._waiter is not None and self._open():
            self._waiter()
            self._waiter = None
