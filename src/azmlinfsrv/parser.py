"""From the bytes of a connection to requests (RFC 9112): llhttp parses, this checks and counts."""

from __future__ import annotations

import functools
import re
import time
from collections.abc import Callable
from typing import NamedTuple
from urllib.parse import unquote

import httptools

from azmlinfsrv.app import Admit
from azmlinfsrv.errors import METHOD_NOT_ALLOWED, ProtocolError
from azmlinfsrv.messages import Request
from azmlinfsrv.wire import Limits

_INVALID = "The request is not valid HTTP/1.1"
# A body up to this length is read before a request without a key is refused, so that its connection can stay open.
_READ_ANYWAY_BYTES = 64 * 1024
# Request targets up to this length are remembered: most requests ask for the same few.
_USUAL_BYTES = 128
# Heads up to this length are remembered, one for each connection.
_USUAL_HEAD_BYTES = 2048
_METHODS = frozenset({b"GET", b"HEAD", b"POST", b"PUT", b"PATCH", b"DELETE", b"OPTIONS", b"TRACE", b"CONNECT"})
# A request line with a method that llhttp does not know (RFC 9112, 3).
_REQUEST_LINE = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+) ([^ ]+) HTTP/1\.[01]\r?\n")
# RFC 9110, 7.2: uri-host and port, without user information; commas would make a list of hosts.
_HOST = re.compile(rb"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._~%!$&'()*+;=-]*)(:[0-9]*)?")


class _Head(NamedTuple):
    """The head of a request that was taken, for those behind it that have the same.

    Attributes:
        text: its bytes, up to the body.
        whole: length of the request with its body, in bytes.
        line: method, target, path and query.
        headers: the fields.
        version: of HTTP.
        client: address and port of the client.
    """

    text: bytes
    whole: int
    line: tuple[str, bytes, str, bytes]
    headers: dict[bytes, bytes]
    version: str
    client: tuple[str, int]


class RequestParser:
    """Parses the requests of one connection.

    Clients that keep a connection mostly send the same head again: one that is equal to the byte, behind a request
    that was complete, is not parsed a second time.

    Args:
        limits: sizes.
        deliver: gets each request and whether the connection may be kept open after it.
        expected: called where a client waits for ``100 Continue``.
        addresses: scheme, client and server address of the connection's requests.
        forwarded: whether the peer is our own nginx, which adds the client's address to ``X-Forwarded-For``.
        admit: says from path, method and fields why a request is not worth reading its body; None where all are.

    Attributes:
        receiving: whether a request has begun and is not complete.
        begun: whether a request began in the bytes that were fed last.
        in_body: whether the header block of that request is complete.
        is_abandoned: whether the rest of it is of no interest.
    """

    def __init__(
        self,
        limits: Limits,
        deliver: Callable[[Request, bool], None],
        expected: Callable[[], None],
        addresses: tuple[str, tuple[str, int], tuple[str, int]],
        forwarded: bool = False,
        admit: Admit | None = None,
    ) -> None:
        self.receiving = self.in_body = self.begun = self.is_abandoned = False
        self._starts_with_data = self._is_last_received = False
        self._host = b""
        self._limits = limits
        self._deliver = deliver
        self._expected = expected
        self._scheme, self._client, self._server = addresses
        self._forwarded = forwarded
        self._admit = admit
        self._parser = httptools.HttpRequestParser(self)
        self._error: ProtocolError | None = None
        self._url = self._method = b""
        self._version = "1.1"
        self._headers: dict[bytes, bytes] = {}
        self._body: list[bytes | bytearray] = []
        self._header_bytes = self._body_bytes = self._raw_bytes = 0
        self._length = 0
        self._messages = 0
        self._last: Request | None = None
        self._head: _Head | None = None

    def feed(self, data: bytes) -> None:
        """Parse what has arrived.

        Raises:
            ProtocolError: it is not acceptable; the parser must not be fed again.
        """
        head = self._head
        if head is not None:
            if len(data) == head.whole and data.startswith(head.text):
                self._repeat(head, data)
                return
            self._head = None
        self._starts_with_data = whole = not self.receiving
        self.begun = False
        if not self.receiving:
            self.receiving = True
            self._raw_bytes = 0
        self._raw_bytes += len(data)
        self._parse(data)
        last, self._last = self._last, None
        if self.receiving:
            self._check_overhead()
        elif whole and self._messages == 1 and last is not None:
            self._head = _head(data, last)

    def _repeat(self, head: _Head, data: bytes) -> None:
        """Deliver a request that has the same head as the one before it."""
        self.begun = True
        text, _, line, headers, version, client = head
        body, now = data[len(text) :], time.perf_counter()
        request = Request(*line, headers.copy(), body, version, client, now, self._scheme, self._server)
        self._deliver(request, True)

    def _parse(self, data: bytes) -> None:
        """Have llhttp parse, and count the requests that begin."""
        self._messages, self._last = 0, None
        while data:
            try:
                self._parser.feed_data(data)
                break
            except httptools.HttpParserUpgrade as upgrade:
                data = self._without_upgrade(data[upgrade.args[0] :])
            except httptools.HttpParserInvalidMethodError as error:
                raise self._refused_method(data) from error
            except httptools.HttpParserError as error:
                raise self._error or ProtocolError(_INVALID) from error

    def _refused_method(self, data: bytes) -> ProtocolError:
        """Return the error for a method that llhttp does not know, and keep what the request line says."""
        line = _REQUEST_LINE.match(data)
        if line is None or line[1] in _METHODS:  # the line of a request before it
            return ProtocolError(_INVALID)
        self._method, self._url = line[1], line[2]
        return ProtocolError(METHOD_NOT_ALLOWED, 405)

    def known(self) -> Request:
        """Return a request of what has been received of it."""
        target = self._url
        path, query = _split_usual(target) if len(target) <= _USUAL_BYTES else _split_target(target)
        return Request(
            (self._method or self._parser.get_method()).decode("latin-1") if target else "",
            target,
            path,
            query,
            self._headers,
            self._body[0] if len(self._body) == 1 else b"".join(self._body),
            self._version if self.in_body else "1.1",
            self._forwarded_client() if self._forwarded else self._client,
            time.perf_counter(),
            self._scheme,
            self._server,
        )

    def give_up(self) -> Request:
        """Return a request of what is known of one that is refused, without its body, whose memory is free then."""
        self.receiving, self.is_abandoned = False, True
        self._body = []
        return self.known()

    @property
    def body_bytes(self) -> tuple[int, int]:
        """How many bytes of the body have arrived, and how many the client said; 0 where it did not."""
        declared = self._headers.get(b"content-length", b"0").partition(b",")[0] if self.in_body else b"0"
        return self._body_bytes, int(declared)

    @property
    def rest_bytes(self) -> int:
        """How many bytes are still to come of a body that has begun and whose length was said; else 0 or less."""
        return self._length - self._body_bytes if self._body_bytes else 0

    def give_body(self) -> tuple[int, list[bytes | bytearray]]:
        """Leave the rest of the body to another reader; returns the body's length and what has come of it."""
        pieces, self._body = self._body, []
        return self._length, pieces

    def count_body(self, body_bytes: int) -> None:
        """Take note of how many bytes are held of a body that another reads."""
        self._body_bytes = body_bytes

    def take_body(self, body: bytearray) -> None:
        """Deliver the request whose body another has read."""
        self._body = [body]
        self._complete(self._parser.should_keep_alive() and not self._asks_to_close())
        self._last = None  # a long body must not live on
        self._parser = httptools.HttpRequestParser(self)  # the old one still waits for the body

    def _forwarded_client(self) -> tuple[str, int]:
        """Return the address that nginx has added behind those that the client may have made up."""
        chain = self._headers.get(b"x-forwarded-for")
        return self._client if chain is None else (chain.rpartition(b",")[2].strip().decode("latin-1"), 0)

    # The callbacks of httptools.

    def on_message_begin(self) -> None:
        """Start a request."""
        if self._is_last_received:
            self._fail(_INVALID)  # llhttp stops here by itself, but not behind every last request
        self._url = b""
        self._headers = {}
        self._body = []
        self._header_bytes = self._body_bytes = self._length = 0
        self.in_body = False
        self.receiving = self.begun = True
        self._messages += 1
        if self._starts_with_data:
            self._starts_with_data = False
        else:  # behind another request; how much of the data is its own is not known
            self._raw_bytes = 0

    def on_url(self, url: bytes) -> None:
        """Take a piece of the request target."""
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header field, or a trailer field, which is counted and dropped."""
        self._header_bytes += len(name) + len(value) + 4
        if self.in_body:
            return
        name = name.lower()
        value = value.rstrip(b" \t")
        headers = self._headers
        if name not in headers:
            headers[name] = value
        elif name == b"host":
            self._fail("The request has more than one Host header")
        else:
            headers[name] += b"," + value

    def on_headers_complete(self) -> None:
        """Check what can be checked before the body arrives."""
        self.in_body = True
        headers = self._headers
        if self._header_bytes + len(self._url) > self._limits.header_bytes:
            self._fail("The request header is too large", 431)
        version = self._version = self._parser.get_http_version()
        if version not in ("1.1", "1.0"):
            self._fail(f"HTTP version {version} is not supported", 505)
        self._check_host(headers.get(b"host"), version)
        if self._admit is not None:
            self._check_admitted(self._admit)
        if b"transfer-encoding" in headers:
            self._check_transfer_coding(version)
        elif b"content-length" in headers:
            self._length = int(headers[b"content-length"].partition(b",")[0])
            self._check_body_size(self._length)
        if b"expect" in headers and version == "1.1":
            if headers[b"expect"].strip().lower() != b"100-continue":
                self._fail("The expectation is not supported", 417)
            self._expected()

    def on_body(self, body: bytes) -> None:
        """Take a piece of the body."""
        self._body_bytes += len(body)
        self._check_body_size(self._body_bytes)
        self._body.append(body)

    def on_message_complete(self) -> None:
        """Deliver the request."""
        self.receiving = False
        if self._header_bytes > self._limits.header_bytes:
            self._fail("The request trailer is too large", 431)
        is_connect = self._parser.get_method() == b"CONNECT"
        if self._parser.should_upgrade() and not is_connect:
            return  # see _without_upgrade
        self._complete(self._parser.should_keep_alive() and not self._asks_to_close() and not is_connect)

    def _complete(self, keep_alive: bool) -> None:
        self.receiving = False
        request = self.known()
        self._body, self._length = [], 0
        self._last = request if keep_alive else None
        self._is_last_received = not keep_alive
        self._deliver(request, keep_alive)

    def _asks_to_close(self) -> bool:
        """Return whether a Connection field has the option ``close``, which decides (RFC 9112, 9.3)."""
        value = self._headers.get(b"connection")
        return value is not None and any(option.strip() == b"close" for option in value.lower().split(b","))

    def _without_upgrade(self, rest: bytes) -> bytes:
        """Return a request that offers another protocol without the offer, which nobody takes up, to be parsed again.

        llhttp takes what follows for the other protocol, also where it is the request's body.
        """
        if self._parser.get_method() == b"CONNECT":
            return b""
        lines = [b"%b %b HTTP/%b" % (self._parser.get_method(), self._url, self._version.encode())]
        lines += [b"%b: %b" % field for field in self._headers.items() if field[0] != b"upgrade"]
        self._parser = httptools.HttpRequestParser(self)
        return b"\r\n".join([*lines, b"", b""]) + rest

    def _check_host(self, host: bytes | None, version: str) -> None:
        """Refuse a request without a Host that can be one (RFC 9112, 3.2)."""
        if host is None:
            if version == "1.1":
                self._fail("The request has no Host header")
        elif host != self._host:
            if not _HOST.fullmatch(host):
                self._fail("The Host header is not valid")
            self._host = host

    def _check_admitted(self, admit: Admit) -> None:
        """Refuse a request with a long body, or one that the client asks about, before it is sent."""
        headers = self._headers
        length = headers.get(b"content-length", b"0").partition(b",")[0]
        if int(length) > _READ_ANYWAY_BYTES or b"transfer-encoding" in headers or b"expect" in headers:
            path, _ = _split_target(self._url)
            refusal = admit(path, self._parser.get_method().decode("latin-1"), headers)
            if refusal is not None:
                self._error = refusal
                raise refusal

    def _check_transfer_coding(self, version: str) -> None:
        """Refuse what is ambiguous about the length of the body (RFC 9112, 6.1), and codings that are not known."""
        if version == "1.0" or b"content-length" in self._headers:
            self._fail(_INVALID)
        if self._headers[b"transfer-encoding"].strip().lower() != b"chunked":
            self._fail("The transfer coding is not supported", 501)

    def _check_body_size(self, body_bytes: int) -> None:
        limit = self._limits.body_bytes
        if body_bytes > limit:
            self._fail(f"The request body is larger than {limit} bytes", 413)

    def _check_overhead(self) -> None:
        """Refuse a header block that grows without end, and chunks that are mostly framing.

        Raises:
            ProtocolError: more bytes have come than headers and body account for.
        """
        header_bytes = self._limits.header_bytes
        if not self.in_body and self._raw_bytes > header_bytes:
            raise ProtocolError("The request header is too large", 431)
        if self._raw_bytes > 2 * header_bytes + 8 * self._body_bytes:
            raise ProtocolError(_INVALID)

    def _fail(self, message: str, status: int = 400) -> None:
        """End parsing from inside a callback."""
        self._error = ProtocolError(message, status)
        raise self._error


def _head(data: bytes, request: Request) -> _Head | None:
    """Return the head of a request that is all of the data, or None where the next may mean something else.

    A body of known length begins where the head ends, and a client that waits for ``100 Continue`` is told each time.
    """
    length = len(data) - len(request.body)
    if length > _USUAL_HEAD_BYTES or data.find(b"\r\n\r\n") + 4 != length or b"expect" in request.headers:
        return None
    line = request.method, request.target, request.path, request.query
    return _Head(data[:length], len(data), line, request.headers.copy(), request.version, request.client)


def _split_target(target: bytes) -> tuple[str, bytes]:
    """Return the decoded path and the raw query of a request target (RFC 9112, 3.2)."""
    if not target.startswith(b"/"):
        scheme, separator, rest = target.partition(b"://")
        if separator and scheme.lower() in (b"http", b"https"):
            start = min((rest.find(mark) for mark in (b"/", b"?", b"#") if mark in rest), default=len(rest))
            target = rest[start:] if rest[start : start + 1] == b"/" else b"/" + rest[start:]
    path, _, query = target.partition(b"?")
    query = query.partition(b"#")[0]
    if path.startswith(b"//"):
        path = b"/" + path.lstrip(b"/")
    text = path.decode("utf-8", "replace")
    return (unquote(text) if "%" in text else text), query


_split_usual = functools.lru_cache(256)(_split_target)
