"""From bytes to requests, written from RFC 9112 and RFC 9110; every case also cut into pieces."""

from __future__ import annotations

import pytest

from azmlinfsrv.errors import ProtocolError
from azmlinfsrv.messages import Request
from azmlinfsrv.parser import RequestParser
from azmlinfsrv.wire import Limits
from tests.unit.http_fakes import CLIENT, LIMITS, SERVER

SMALL = LIMITS._replace(body_bytes=1000, header_bytes=1024)


class Parsed:
    """A parser and what it has delivered.

    Attributes:
        parser: the parser under test.
        requests: the requests, each with whether the connection may be kept.
        expected: how often the client was to be told to continue.
    """

    def __init__(self, limits: Limits = LIMITS) -> None:
        self.requests: list[tuple[Request, bool]] = []
        self.expected = 0
        self.parser = RequestParser(limits, self._deliver, self._expect, ("http", CLIENT, SERVER))

    def _deliver(self, request: Request, keep_alive: bool) -> None:
        self.requests.append((request, keep_alive))

    def _expect(self) -> None:
        self.expected += 1

    def feed(self, data: bytes, piece_bytes: int = 0) -> None:
        """Feed the data, whole or in pieces."""
        size = piece_bytes or len(data) or 1
        for start in range(0, len(data), size):
            self.parser.feed(data[start : start + size])

    @property
    def one(self) -> Request:
        """The one request that has been delivered."""
        ((request, _),) = self.requests
        return request


def head(*lines: str) -> bytes:
    """Return a header block of these lines."""
    return "".join(f"{line}\r\n" for line in (*lines, "")).encode("latin-1")


GET = head("GET /score HTTP/1.1", "Host: t")


def refused(data: bytes, piece_bytes: int = 0, limits: Limits = SMALL) -> tuple[int, str]:
    """Return status and message of the error that the data gets; nothing may have been delivered."""
    parsed = Parsed(limits)
    with pytest.raises(ProtocolError) as caught:
        parsed.feed(data, piece_bytes)
    assert parsed.requests == []
    return caught.value.status, caught.value.message


@pytest.mark.parametrize("piece_bytes", [0, 1, 7])
def test_a_request(piece_bytes: int) -> None:
    """A request has its parts, however it arrives."""
    parsed = Parsed()
    block = head("POST /score?a=1&b=%20 HTTP/1.1", "Host: t", "Content-Type: text/plain", "Content-Length: 5")
    parsed.feed(block + b"hello", piece_bytes)
    request = parsed.one
    assert (request.method, request.path, request.query) == ("POST", "/score", b"a=1&b=%20")
    assert request.target == b"/score?a=1&b=%20"
    assert request.headers == {b"host": b"t", b"content-type": b"text/plain", b"content-length": b"5"}
    assert (request.body, request.version, request.scheme) == (b"hello", "1.1", "http")
    assert (request.client, request.server) == (CLIENT, SERVER)
    assert (parsed.parser.receiving, parsed.requests[0][1]) == (False, True)


@pytest.mark.parametrize("piece_bytes", [0, 1, 5])
def test_a_chunked_body(piece_bytes: int) -> None:
    """Chunks are joined; extensions and trailer fields are dropped (RFC 9112, 7.1)."""
    parsed = Parsed()
    chunks = b"3;ext=1\r\nabc\r\nA\r\n0123456789\r\n0\r\nX-Trailer: t\r\nHost: evil\r\n\r\n"
    parsed.feed(head("POST /score HTTP/1.1", "Host: t", "Transfer-Encoding: chunked") + chunks, piece_bytes)
    assert parsed.one.body == b"abc0123456789"
    assert parsed.one.headers == {b"host": b"t", b"transfer-encoding": b"chunked"}


@pytest.mark.parametrize("piece_bytes", [0, 1, 40])
def test_several_requests(piece_bytes: int) -> None:
    """Requests in a row are delivered in order, each with its own body and fields (RFC 9112, 9.3.2)."""
    parsed = Parsed()
    first = head("POST /1 HTTP/1.1", "Host: t", "X-A: 1", "Content-Length: 3") + b"one"
    second = head("POST /2 HTTP/1.1", "Host: t", "Transfer-Encoding: chunked") + b"3\r\ntwo\r\n0\r\n\r\n"
    parsed.feed(first + second + GET, piece_bytes)
    assert [(each.path, each.body) for each, _ in parsed.requests] == [("/1", b"one"), ("/2", b"two"), ("/score", b"")]
    assert b"x-a" not in parsed.requests[1][0].headers


LONG = bytes(range(256)) * 1200  # 307,200 bytes


@pytest.mark.parametrize("piece_bytes", [0, 1000, 65_536, 100_000, 307_200])
@pytest.mark.parametrize("line", ["X-A: 1", "Expect: 100-continue", "Upgrade: x", "Connection: Upgrade, x"])
def test_long_bodies(line: str, piece_bytes: int) -> None:
    """A long body is what was sent, and what is behind it the next request, in whatever pieces they come."""
    parsed = Parsed()
    block = head("POST /1 HTTP/1.1", "Host: t", f"Content-Length: {len(LONG)}", line)
    for _ in range(2):
        parsed.feed(block + LONG + GET + GET, piece_bytes)
    assert [(request.path, kept) for request, kept in parsed.requests] == [("/1", True), *[("/score", True)] * 2] * 2
    assert all(request.body == (LONG if request.path == "/1" else b"") for request, _ in parsed.requests)
    assert parsed.requests[0][0].headers[line.partition(":")[0].lower().encode()] == line.partition(": ")[2].encode()
    assert (parsed.parser.receiving, parsed.parser.begun) == (False, True)


@pytest.mark.parametrize("piece_bytes", [1000, 100_000])
@pytest.mark.parametrize(
    ("version", "field", "kept"),
    [("1.1", "Connection: close", False), ("1.0", "X-A: 1", False), ("1.0", "Connection: keep-alive", True)],
)
def test_the_end_behind_a_long_body(version: str, field: str, kept: bool, piece_bytes: int) -> None:
    """Whether the connection goes on behind a long body is what its head says; what follows its end is refused."""
    parsed = Parsed()
    parsed.feed(head(f"POST / HTTP/{version}", "Host: t", f"Content-Length: {len(LONG)}", field) + LONG, piece_bytes)
    assert (parsed.one.body, parsed.requests[0][1]) == (LONG, kept)
    if not kept:
        with pytest.raises(ProtocolError):
            parsed.feed(GET)


@pytest.mark.parametrize(
    ("lines", "kept"),
    [
        (["GET / HTTP/1.1", "Host: t"], True),
        (["GET / HTTP/1.1", "Host: t", "Connection: close"], False),
        (["GET / HTTP/1.1", "Host: t", "Connection: x, CLOSE"], False),
        (["GET / HTTP/1.0"], False),
        (["GET / HTTP/1.0", "Connection: keep-alive"], True),
    ],
)
def test_keeping_the_connection(lines: list[str], kept: bool) -> None:
    """HTTP/1.1 keeps a connection unless told otherwise, HTTP/1.0 the other way round (RFC 9112, 9.3)."""
    parsed = Parsed()
    parsed.feed(head(*lines))
    assert parsed.requests[0][1] is kept


def test_repeated_fields_are_joined() -> None:
    """Names are in lower case, and fields of one name are joined by commas (RFC 9110, 5.3)."""
    parsed = Parsed()
    parsed.feed(head("GET / HTTP/1.1", "HOST: t", "X-List: a", "x-list: b, c", "X-Empty:", "X-Spaced: \t v \t"))
    headers = parsed.one.headers
    assert headers[b"x-list"].replace(b" ", b"") == b"a,b,c"
    assert (headers[b"x-empty"], headers[b"x-spaced"].strip()) == (b"", b"v")


@pytest.mark.parametrize(
    ("target", "path", "query"),
    [
        ("/a%20b", "/a b", b""),
        ("/caf%C3%A9", "/caf\xe9", b""),
        ("/%FF", "/\ufffd", b""),
        ("/a?", "/a", b""),
        ("/a?b?c", "/a", b"b?c"),
        ("/a?b=%2F%20", "/a", b"b=%2F%20"),
        ("/?a", "/", b"a"),
        ("http://t/score", "/score", b""),
        ("HTTP://t:80/score?x=1", "/score", b"x=1"),
        ("http://t", "/", b""),
        ("http://t?x=1", "/", b"x=1"),
        ("http://t?x=/y", "/", b"x=/y"),
    ],
)
def test_targets(target: str, path: str, query: bytes) -> None:
    """The path is decoded, the query is not; the absolute form means the same (RFC 9112, 3.2.2)."""
    parsed = Parsed()
    parsed.feed(head(f"GET {target} HTTP/1.1", "Host: t"))
    assert (parsed.one.path, parsed.one.query, parsed.one.target) == (path, query, target.encode("latin-1"))


@pytest.mark.parametrize("piece_bytes", [0, 1])
@pytest.mark.parametrize(
    ("lines", "status"),
    [
        (["GET / HTTP/1.1"], 400),
        (["GET / HTTP/1.1", "Host: a", "Host: b"], 400),
        (["GET / HTTP/1.1", "Host: a", "Host: a"], 400),
        (["GET / HTTP/1.1", "Host: t", "No colon"], 400),
        (["GET / HTTP/1.1", "Host: t", "Space : x"], 400),
        (["GET / HTTP/1.1", "Host: t", "X: a\x00b"], 400),
        (["GET / HTTP/1.1", "Host: t", "X: a", " folded"], 400),
        (["POST / HTTP/1.1", "Host: t", "Content-Length: x"], 400),
        (["POST / HTTP/1.1", "Host: t", "Content-Length: -1"], 400),
        (["POST / HTTP/1.1", "Host: t", "Content-Length: +1"], 400),
        (["POST / HTTP/1.1", "Host: t", "Content-Length: 1", "Content-Length: 2"], 400),
        (["POST / HTTP/1.1", "Host: t", "Content-Length: 1", "Transfer-Encoding: chunked"], 400),
        (["POST / HTTP/1.1", "Host: t", "Transfer-Encoding: chunked", "Content-Length: 1"], 400),
        (["POST / HTTP/1.0", "Transfer-Encoding: chunked"], 400),
        (["POST / HTTP/1.1", "Host: t", "Expect: miracles"], 417),
    ],
)
def test_malformed_requests(lines: list[str], status: int, piece_bytes: int) -> None:
    """What RFC 9112 does not allow, or two readers could read differently, is refused and never delivered."""
    assert refused(head(*lines), piece_bytes)[0] == status


def test_an_unknown_method_is_not_allowed() -> None:
    """A request line that is valid but for its method gets 405, as from release 1.5.1."""
    assert refused(head("BREW / HTTP/1.1", "Host: t"), 0)[0] == 405


@pytest.mark.parametrize(
    "coding", ["gzip", "gzip, chunked", "chunked, gzip", "identity", "xchunked", "chunked, chunked"]
)
def test_other_transfer_codings(coding: str) -> None:
    """A transfer coding other than chunked is refused (RFC 9112, 6.1): 501, or 400 where its end cannot be told."""
    lines = ["POST / HTTP/1.1", "Host: t", f"Transfer-Encoding: {coding}"]
    assert refused(head(*lines))[0] in (400, 501)


@pytest.mark.parametrize("chunk", [b"x\r\n", b"-1\r\n", b"3\r\nabcd\r\n", b"3\nabc\r\n", b"ffffffffffffffffff\r\n"])
def test_malformed_chunks(chunk: bytes) -> None:
    """A body whose chunks are not framed as RFC 9112, 7.1 says is refused."""
    block = head("POST / HTTP/1.1", "Host: t", "Transfer-Encoding: chunked")
    assert refused(block + chunk + b"0\r\n\r\n")[0] == 400


@pytest.mark.parametrize("version", ["HTTP/2.0", "HTTP/1.2", "HTTP/0.9", "HTTP/3.0", "", "HTTP/1", "http/1.1"])
def test_other_versions(version: str) -> None:
    """Only HTTP/1.1 and HTTP/1.0 are spoken."""
    assert refused(head(f"GET / {version}", "Host: t"))[0] in (400, 505)


def test_http_1_0_needs_no_host() -> None:
    """A request of HTTP/1.0 may be without Host."""
    parsed = Parsed()
    parsed.feed(head("GET / HTTP/1.0"))
    assert parsed.one.version == "1.0"


def test_a_declared_body_is_refused_before_it_arrives() -> None:
    """A Content-Length over the limit is a 413 that names the limit; one at the limit is fine."""
    block = ["POST / HTTP/1.1", "Host: t"]
    assert refused(head(*block, "Content-Length: 1001")) == (413, "The request body is larger than 1000 bytes")
    parsed = Parsed(SMALL)
    parsed.feed(head(*block, "Content-Length: 1000") + b"x" * 1000)
    assert len(parsed.one.body) == 1000


def test_a_client_is_not_told_to_send_what_is_refused() -> None:
    """A body over the limit is refused instead of being asked for (RFC 9110, 10.1.1)."""
    parsed = Parsed(SMALL)
    with pytest.raises(ProtocolError):
        parsed.feed(head("POST / HTTP/1.1", "Host: t", "Content-Length: 1001", "Expect: 100-continue"))
    assert parsed.expected == 0


@pytest.mark.parametrize("piece_bytes", [0, 100])
def test_a_chunked_body_is_refused_when_it_grows_too_large(piece_bytes: int) -> None:
    """A body of unknown length over the limit is a 413."""
    block = head("POST / HTTP/1.1", "Host: t", "Transfer-Encoding: chunked")
    chunk = b"64\r\n" + b"x" * 100 + b"\r\n"
    assert refused(block + chunk * 11, piece_bytes)[0] == 413
    parsed = Parsed(SMALL)
    parsed.feed(block + chunk * 10 + b"0\r\n\r\n", piece_bytes)
    assert len(parsed.one.body) == 1000


@pytest.mark.parametrize("piece_bytes", [0, 100])
@pytest.mark.parametrize(
    "start",
    [
        b"GET / HTTP/1.1\r\nHost: t\r\nX-Big: ",
        b"GET /",
        b"GET / HTTP/1.1\r\nHost: t\r\n",
    ],
    ids=["value", "target", "fields"],
)
@pytest.mark.parametrize("ended", [True, False])
def test_a_header_block_is_refused_when_it_grows_too_large(start: bytes, piece_bytes: int, ended: bool) -> None:
    """A request line and fields over the limit are a 431, whether they end or not."""
    unit = b"X-Field: y\r\n" if start.endswith(b"\n") else b"x" * 12
    data = start + unit * 100
    if ended:
        data += b" HTTP/1.1\r\nHost: t\r\n\r\n" if start == b"GET /" else b"\r\n\r\n"
    assert refused(data, piece_bytes)[0] == 431


def test_a_header_block_within_the_limit() -> None:
    """A header block just under the limit is fine."""
    parsed = Parsed(SMALL)
    parsed.feed(head("GET / HTTP/1.1", "Host: t", "X-Big: " + "x" * 900), 10)
    assert len(parsed.one.headers[b"x-big"]) == 900


def test_trailer_fields_are_limited() -> None:
    """A trailer section without end is refused."""
    block = head("POST / HTTP/1.1", "Host: t", "Transfer-Encoding: chunked")
    assert refused(block + b"1\r\nx\r\n0\r\n" + b"X-Field: y\r\n" * 1000, 100)[0] in (400, 431)


def test_chunk_extensions_are_limited() -> None:
    """A body that is mostly chunk extensions is refused (RFC 9112, 7.1.1)."""
    block = head("POST / HTTP/1.1", "Host: t", "Transfer-Encoding: chunked")
    assert refused(block + (b"1;" + b"e" * 500 + b"\r\nx\r\n") * 100, 1000)[0] in (400, 413, 431)


def test_small_chunks_are_fine() -> None:
    """A client may send its body byte by byte."""
    parsed = Parsed(LIMITS)
    block = head("POST / HTTP/1.1", "Host: t", "Transfer-Encoding: chunked")
    parsed.feed(block + b"1\r\nx\r\n" * 20_000 + b"0\r\n\r\n", 10_000)
    assert len(parsed.one.body) == 20_000


@pytest.mark.parametrize("body_bytes", [0, 500_000])
def test_the_limits_are_those_of_one_request(body_bytes: int) -> None:
    """What a connection has carried before counts for nothing, even where requests share a piece of data."""
    parsed = Parsed(LIMITS)
    first = head("POST /1 HTTP/1.1", "Host: t", f"Content-Length: {body_bytes}") + b"x" * body_bytes
    data = first * 2 + GET * 200
    cut = len(first) + len(data) % 977
    for start in range(0, len(data), cut):
        parsed.feed(data[start : start + cut])
    assert len(parsed.requests) == 202


def test_a_cut_request_after_many() -> None:
    """A pipeline of requests whose last one is cut is no header block that is too large (RFC 9112, 9.3.2)."""
    parsed = Parsed(SMALL)
    parsed.feed(GET * 50 + GET[:20])
    parsed.feed(GET[20:])
    assert len(parsed.requests) == 51


@pytest.mark.parametrize("body", [b"", b"hello"])
def test_expect_continue(body: bytes) -> None:
    """A client that waits for 100 is noticed once its header block is complete (RFC 9110, 10.1.1)."""
    parsed = Parsed()
    block = head("POST / HTTP/1.1", "Host: t", f"Content-Length: {len(body)}", "Expect: 100-CONTINUE")
    parsed.feed(block[:-2])
    assert parsed.expected == 0
    parsed.feed(block[-2:])
    assert parsed.expected == 1
    if body:
        parsed.feed(body)
    assert parsed.one.body == body


def test_http_1_0_expects_nothing() -> None:
    """Expect means nothing in HTTP/1.0 (RFC 9110, 10.1.1)."""
    parsed = Parsed()
    parsed.feed(head("POST / HTTP/1.0", "Content-Length: 0", "Expect: 100-continue"))
    assert (parsed.expected, parsed.one.version) == (0, "1.0")


@pytest.mark.parametrize("piece_bytes", [0, 1, 30])
def test_upgrades_are_ignored(piece_bytes: int) -> None:
    """A server may ignore Upgrade; the connection goes on in HTTP/1.1 (RFC 9110, 7.8)."""
    parsed = Parsed()
    upgrade = ["Host: t", "Connection: Upgrade", "Upgrade: h2c"]
    parsed.feed(head("GET /1 HTTP/1.1", *upgrade) + head("GET /2 HTTP/1.1", *upgrade) + GET, piece_bytes)
    assert [each.path for each, _ in parsed.requests] == ["/1", "/2", "/score"]
    assert all(kept for _, kept in parsed.requests)


@pytest.mark.parametrize("piece_bytes", [0, 1, 30])
@pytest.mark.parametrize("chunked", [False, True])
def test_upgrades_keep_their_bodies(piece_bytes: int, chunked: bool) -> None:
    """A request that asks for an upgrade has its body like any other, as `curl --http2 -d` sends it (RFC 9110, 7.8)."""
    parsed = Parsed()
    block = ["POST /score HTTP/1.1", "Host: t", "Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c"]
    if chunked:
        data = head(*block, "Transfer-Encoding: chunked") + b"3\r\ntwo\r\n0\r\n\r\n"
    else:
        data = head(*block, "Content-Length: 3") + b"two"
    parsed.feed(data + GET, piece_bytes)
    assert [(each.method, each.body) for each, _ in parsed.requests] == [("POST", b"two"), ("GET", b"")]


def test_many_upgrades() -> None:
    """A client that asks for an upgrade in each of many requests at once gets them all answered."""
    parsed = Parsed()
    parsed.feed(head("GET / HTTP/1.1", "Host: t", "Connection: Upgrade", "Upgrade: h2c") * 1500)
    assert len(parsed.requests) == 1500


def test_state() -> None:
    """The parser tells whether a request has begun, and whether its header block is complete."""
    parsed = Parsed()
    parser = parsed.parser
    block = head("POST / HTTP/1.1", "Host: t", "Content-Length: 2")
    states = []
    for piece in (b"", block[:3], block[3:], b"x", b"x"):
        parsed.feed(piece)
        states.append((parser.receiving, parser.in_body and parser.receiving))
    assert states == [(False, False), (True, False), (True, True), (True, True), (False, False)]


def test_what_is_known_of_an_incomplete_request() -> None:
    """An error is answered with what has arrived of its request."""
    parsed = Parsed()
    parsed.feed(head("POST /score?a HTTP/1.1", "Host: t", "X-Request-Id: A", "Content-Length: 9") + b"some")
    known = parsed.parser.known()
    assert (known.method, known.path, known.query, known.body) == ("POST", "/score", b"a", b"some")
    assert known.header(b"x-request-id") == "A"
    nothing = Parsed().parser.known()
    assert (nothing.method, nothing.target, nothing.version) == ("", b"", "1.1")


def test_an_empty_line_before_a_request_is_ignored() -> None:
    """A server should ignore at least one empty line before the request line (RFC 9112, 2.2)."""
    parsed = Parsed()
    parsed.feed(b"\r\n" + GET)
    assert parsed.one.path == "/score"


@pytest.mark.parametrize(
    ("field", "forwarded", "client"),
    [
        ("X-Forwarded-For: 203.0.113.7, 192.0.2.1", True, ("192.0.2.1", 0)),
        ("X-Forwarded-For: ::1", True, ("::1", 0)),
        ("X-Forwarded-For: 203.0.113.7, 192.0.2.1", False, CLIENT),
        ("A: b", True, CLIENT),
    ],
)
def test_forwarded_client(field: str, forwarded: bool, client: tuple[str, int]) -> None:
    """The client is who our own nginx says, last of all; what anybody else says of it is not believed."""
    requests: list[Request] = []
    parser = RequestParser(
        LIMITS, lambda request, _: requests.append(request), lambda: None, ("http", CLIENT, SERVER), forwarded
    )
    parser.feed(head("GET / HTTP/1.1", "Host: t", field))
    assert requests[0].client == client


def post(body: bytes, *lines: str) -> bytes:
    """Return a request with a body of known length."""
    return head("POST /score?a=1 HTTP/1.1", "Host: t", *lines, f"Content-Length: {len(body)}") + body


ALIKE = {
    "get": GET,
    "post": post(b"[1]"),
    "other-body": post(b"[2]"),
    "empty-lines-in-body": post(b"\r\n\r\n"),
    "no-body": post(b""),
    "field": post(b"[1]", "X-Request-Id: 7"),
    "expect": post(b"[1]", "Expect: 100-continue"),
    "close": post(b"[1]", "Connection: close"),
    "upgrade": post(b"[1]", "Upgrade: h2c", "Connection: Upgrade"),
    "chunked": head("POST /score HTTP/1.1", "Host: t", "Transfer-Encoding: chunked") + b"1\r\n1\r\n0\r\n\r\n",
    "trailer": head("POST /score HTTP/1.1", "Host: t", "Transfer-Encoding: chunked") + b"1\r\n1\r\n0\r\na: b\r\n\r\n",
    "old": head("POST /score HTTP/1.0", "Connection: keep-alive", "Content-Length: 1") + b"1",
    "line-before": b"\r\n" + GET,
    "line-behind": post(b"[1]") + b"\r\n",
    "pipelined": GET + post(b"[1]"),
    "long": head("GET /score HTTP/1.1", "Host: t", "A: " + "a" * 4000),
}


def told(request: Request) -> tuple[object, ...]:
    """Return what a request says."""
    line = request.method, request.target, request.path, request.query, request.version
    return *line, request.headers, request.body, request.client, request.server, request.scheme


@pytest.mark.parametrize("second", ALIKE)
@pytest.mark.parametrize("first", ALIKE)
def test_a_head_that_comes_again_means_the_same(first: str, second: str) -> None:
    """Requests that come whole, whose heads may be known, are delivered as those that come byte by byte."""
    whole, cut = Parsed(), Parsed()
    for name in (first, first, second, first, second, second):
        if whole.requests and not whole.requests[-1][1]:
            break  # the connection ends there
        whole.feed(ALIKE[name])
        cut.feed(ALIKE[name], 1)
    assert [(told(request), keep) for request, keep in whole.requests] == [
        (told(request), keep) for request, keep in cut.requests
    ]
    assert whole.expected == cut.expected


def test_requests_with_the_same_head_share_nothing() -> None:
    """What is done to the headers of one request is not seen by the next."""
    parsed = Parsed()
    for _ in range(3):
        parsed.feed(post(b"[1]"))
        request, _ = parsed.requests[-1]
        assert b"x" not in request.headers
        request.headers[b"x"] = b"y"
