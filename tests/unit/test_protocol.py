"""Connections: order, limits, timeouts and endings, with a fake transport, clock and script."""

from __future__ import annotations

import json

import pytest

from azmlinfsrv.messages import ClientGoneError, Gate, Response
from tests.unit.http_fakes import LIMITS, FakeConnection, FakeTransport

GET = b"GET / HTTP/1.1\r\nHost: t\r\n\r\n"
CLOSING = b"GET / HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n"
OLD = b"GET / HTTP/1.0\r\n\r\n"
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


def post(body: bytes, query: str = "", *lines: str) -> bytes:
    """Return a request to the script."""
    extra = "".join(f"{line}\r\n" for line in lines)
    head = f"POST /score{query} HTTP/1.1\r\nHost: t\r\nContent-Length: {len(body)}\r\n{extra}\r\n"
    return head.encode() + body


@pytest.fixture
def connection() -> FakeConnection:
    """A connection that has just been made."""
    return FakeConnection()


def stream_headers() -> Response:
    """Return the head of a streamed answer; what it streams is told to the connection by the test."""
    return Response(200, b"", [("Content-Type", "text/plain")], iter(()))


def free_bytes(gate: Gate) -> bool:
    """Return whether a gate would let more bytes pass; takes one if so."""
    return gate.try_take(1, lambda: None)


# -- one request after the other -------------------------------------------------------------------------------


def test_a_request_and_its_answer(connection: FakeConnection) -> None:
    """An answer goes out in one piece, is logged with its length, and the connection stays open."""
    connection.receive(post(b"hello"))
    assert connection.transport.written == b""
    connection.script.answer()
    (answer,) = connection.answers("POST")
    assert (answer.status, answer.body, answer.values("connection")) == (200, b"hello", [])
    assert connection.transport.pieces == 1
    assert connection.log.access == [("/score", 200, 5)]
    assert not connection.transport.has_ended()
    connection.receive(GET)
    assert connection.answers("GET")[0].body == b"Healthy"


def test_every_connection_has_its_own_requests() -> None:
    """Two connections of one worker do not share anything but what they should."""
    one = FakeConnection()
    other, transport = one.shared(), FakeTransport()
    other.connection_made(transport)
    one.receive(post(b"one"))
    other.data_received(post(b"other"))
    assert len(one.shared.open) == 2
    one.script.answer()
    assert one.answers("POST")[0].body == b"one"
    assert transport.written == b""
    one.script.answer()
    assert bytes(transport.written).endswith(b"other")


def test_head(connection: FakeConnection) -> None:
    """HEAD gets the length of the answer to GET and no body, and the next answer follows."""
    connection.receive(b"HEAD / HTTP/1.1\r\nHost: t\r\n\r\n" + GET)
    head, get = connection.answers("HEAD", "GET")
    assert (head.values("content-length"), head.body) == (["7"], b"")
    assert get.body == b"Healthy"
    assert [length for _, _, length in connection.log.access] == [0, 7]


@pytest.mark.parametrize("status", [204, 304])
def test_answers_without_content(connection: FakeConnection, status: int) -> None:
    """What a script returns as the body of a 204 or 304 is not sent."""
    connection.receive(post(b"") + GET)
    connection.script.answer(Response(status, b"a body"))
    answers = connection.answers("POST", "GET")
    assert [(answer.status, answer.body) for answer in answers] == [(status, b""), (200, b"Healthy")]


def test_a_large_answer_is_not_copied(connection: FakeConnection) -> None:
    """The body of a large answer is handed over as it is, after the head."""
    connection.receive(post(b""))
    connection.script.answer(Response(200, b"x" * 1_000_000))
    assert connection.transport.pieces == 2
    assert len(connection.answers("POST")[0].body) == 1_000_000


# -- pipelining ------------------------------------------------------------------------------------------------


def test_pipelined_answers_are_in_order(connection: FakeConnection) -> None:
    """Requests that arrive together are scored one after the other and answered in order (RFC 9112, 9.3.2)."""
    connection.receive(post(b"1", "?1") + GET + post(b"2", "?2") + GET)
    assert connection.script.targets == ["/score?1"]
    assert connection.transport.written == b""
    connection.script.answer()
    assert connection.script.targets == ["/score?2"]
    assert [answer.body for answer in connection.answers("POST", "GET")] == [b"1", b"Healthy"]
    connection.script.answer()
    assert [answer.body for answer in connection.answers("POST", "GET")] == [b"2", b"Healthy"]


def test_a_pipelining_client_is_held_back(connection: FakeConnection) -> None:
    """Nothing more is read while a request waits behind another, so a client cannot fill the memory."""
    connection.receive(post(b"1"))
    assert connection.transport.is_reading()
    connection.receive(post(b"2") + post(b"3"))
    assert not connection.transport.is_reading()
    connection.script.answer()
    assert not connection.transport.is_reading()
    connection.script.answer()
    assert connection.transport.is_reading()
    connection.script.answer()
    assert [answer.body for answer in connection.answers("POST", "POST", "POST")] == [b"1", b"2", b"3"]


def test_many_pipelined_requests(connection: FakeConnection) -> None:
    """A thousand requests at once are a thousand answers, without as many frames on the stack."""
    connection.receive(post(b"first") + GET * 1000)
    connection.script.answer()
    assert len(connection.answers("POST", *["GET"] * 1000)) == 1001


def test_a_pipelined_error_waits_its_turn(connection: FakeConnection) -> None:
    """Bytes that are no request are answered after the requests before them, and end the connection."""
    connection.receive(post(b"1") + GET + b"nonsense\r\n\r\n" + GET)
    assert connection.transport.written == b""
    connection.script.answer()
    first, second, third = connection.answers("POST", "GET", "GET")
    assert [first.status, second.status, third.status] == [200, 200, 400]
    assert third.values("connection") == ["close"]
    assert connection.transport.has_ended()


def test_nothing_is_answered_after_a_close(connection: FakeConnection) -> None:
    """Requests behind one with Connection: close are not processed (RFC 9112, 9.6)."""
    connection.receive(post(b"1", "", "Connection: close") + post(b"2"))
    connection.script.answer()
    (answer,) = connection.answers("POST")
    assert answer.values("connection") == ["close"]
    assert connection.script.submitted == []
    assert connection.transport.has_ended()


# -- 100 Continue ----------------------------------------------------------------------------------------------


def test_continue(connection: FakeConnection) -> None:
    """A client that waits for it is told to send its body (RFC 9110, 10.1.1)."""
    block, body = post(b"hello", "", "Expect: 100-continue")[:-5], b"hello"
    connection.receive(block)
    assert connection.transport.written == CONTINUE
    connection.receive(body)
    connection.script.answer()
    assert [answer.status for answer in connection.answers("POST")] == [100, 200]


def test_continue_waits_for_the_answers_before(connection: FakeConnection) -> None:
    """100 Continue never comes before the answer to an earlier request."""
    connection.receive(post(b"1") + post(b"hello", "", "Expect: 100-continue")[:-5])
    assert connection.transport.written == b""
    connection.script.answer()
    assert bytes(connection.transport.written).endswith(b"\r\n\r\n1" + CONTINUE)
    connection.receive(b"hello")
    connection.script.answer()
    assert [answer.status for answer in connection.answers("POST", "POST")] == [200, 100, 200]


def test_continue_is_not_sent_after_the_answer(connection: FakeConnection) -> None:
    """A client that did not wait gets its answer, and no 100 Continue behind it that answers nothing."""
    connection.receive(post(b"1") + post(b"2", "", "Expect: 100-continue"))
    connection.script.answer()
    connection.script.answer()
    answers = connection.answers("POST", "POST")
    assert [answer.status for answer in answers if answer.status != 100] == [200, 200]
    connection.receive(GET)
    assert [answer.status for answer in connection.answers("GET")] == [200]


def test_a_refused_body_is_not_asked_for(connection: FakeConnection) -> None:
    """A client that waits with a body that is too large gets 413 instead of 100."""
    block = "POST /score HTTP/1.1\r\nHost: t\r\nContent-Length: 1000001\r\nExpect: 100-continue\r\n\r\n"
    connection.receive(block.encode())
    assert [answer.status for answer in connection.answers("POST")] == [413]


# -- errors and endings ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "status", "logged"),
    [
        (b"nonsense\r\n\r\n", 400, ""),
        (b"GET / HTTP/1.1\r\n\r\n", 400, "/"),
        (b"POST /score?x HTTP/1.1\r\nHost: t\r\nContent-Length: 1000001\r\n\r\n", 413, "/score?x"),
        (b"GET /long HTTP/1.1\r\nHost: t\r\nX: " + b"x" * 5000, 431, "/long"),
    ],
)
def test_errors_of_the_protocol(connection: FakeConnection, data: bytes, status: int, logged: str) -> None:
    """What is not acceptable is answered in JSON with ids, logged, and the connection is closed cleanly."""
    connection.receive(data)
    (answer,) = connection.answers("GET")
    assert answer.status == status
    assert set(json.loads(answer.body)) == {"message"}
    assert answer.values("connection") == ["close"] and answer.values("x-request-id")
    assert connection.transport.has_ended() and not connection.transport.is_aborted()
    assert [(target, logged_status) for target, logged_status, _ in connection.log.access] == [(logged, status)]
    assert connection.script.submitted == []


@pytest.mark.parametrize("before", [b"", GET.replace(b"\r\n\r\n", b"\r\nx-request-id: before\r\n\r\n")])
def test_an_unknown_method_is_logged(connection: FakeConnection, before: bytes) -> None:
    """The access line of a request that is refused for its method says which method that was, and of what target."""
    methods = []
    connection.log.access_line = lambda request, *_: methods.append((request.method, request.target))  # type: ignore[method-assign]
    if before:
        connection.receive(before)
        connection.answers("GET")
    connection.receive(b"BREW /score?x HTTP/1.1\r\nHost: t\r\n\r\n")
    (answer,) = connection.answers("GET")
    assert answer.status == 405 and answer.values("x-request-id") != ["before"]
    assert methods[-1] == ("BREW", b"/score?x")


def test_http_1_0_with_an_upgrade(connection: FakeConnection) -> None:
    """An offer to upgrade makes no other version of a request: without a Host, and closed after its answer."""
    connection.receive(b"GET / HTTP/1.0\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n")
    assert connection.answers("GET")[0].status == 200
    assert connection.transport.has_ended()


def test_what_comes_after_an_error_is_dropped(connection: FakeConnection) -> None:
    """After the last answer the client may go on sending for a moment, so that it can read the answer."""
    connection.receive(b"nonsense\r\n\r\n")
    connection.answers("GET")
    connection.receive(GET * 10)
    assert connection.transport.written == b""
    assert connection.transport.is_reading() and not connection.transport.is_closing()
    connection.half_close()
    assert connection.transport.is_closing() and not connection.transport.is_aborted()


def test_lingering_ends(connection: FakeConnection) -> None:
    """A client that does not close after its last answer is cut off."""
    connection.receive(CLOSING)
    assert connection.transport.has_ended() and not connection.transport.is_closing()
    connection.pass_time(1.0)
    assert not connection.transport.is_closing()
    connection.pass_time(60.0)
    assert connection.transport.is_closing()


def test_lingering_takes_no_flood(connection: FakeConnection) -> None:
    """A client that sends for ever after its last answer is cut off."""
    connection.receive(CLOSING)
    for _ in range(2000):
        if connection.transport.is_aborted():
            break
        connection.receive(b"x" * 1_000_000)
    assert connection.transport.is_aborted()


@pytest.mark.parametrize("data", [CLOSING, OLD])
def test_the_last_answer_ends_the_connection(connection: FakeConnection, data: bytes) -> None:
    """Connection: close and HTTP/1.0 get one answer that says so, then the end of the connection."""
    connection.receive(data)
    (answer,) = connection.answers("GET")
    assert answer.values("connection") == ["close"]
    assert connection.transport.has_ended()


def test_http_1_0_keep_alive(connection: FakeConnection) -> None:
    """An HTTP/1.0 client that asks for it keeps its connection."""
    connection.receive(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
    (answer,) = connection.answers("GET")
    assert answer.values("connection") == ["keep-alive"]
    assert not connection.transport.has_ended()


def test_half_close_while_scoring(connection: FakeConnection) -> None:
    """A client that has ended its side still gets its answer, which says that it is the last."""
    connection.receive(post(b"hello"))
    connection.half_close()
    assert not connection.transport.is_closing()
    connection.script.answer()
    (answer,) = connection.answers("POST")
    assert (answer.body, answer.values("connection")) == (b"hello", ["close"])
    assert connection.transport.is_closing() and not connection.transport.is_aborted()


def test_half_close_with_requests_waiting(connection: FakeConnection) -> None:
    """All requests that had arrived are answered, and only the last answer says that it is."""
    connection.receive(post(b"1") + post(b"2"))
    connection.half_close()
    connection.script.answer()
    connection.script.answer()
    answers = connection.answers("POST", "POST")
    assert [answer.values("connection") for answer in answers] == [[], ["close"]]
    assert connection.transport.is_closing()


def test_half_close_within_a_request(connection: FakeConnection) -> None:
    """A request that ends before it is complete is a 400, and is not scored (RFC 9112, 8)."""
    connection.receive(post(b"hello")[:-2])
    connection.half_close()
    assert [answer.status for answer in connection.answers("POST")] == [400]
    assert connection.script.submitted == []
    assert connection.transport.is_closing()


def test_half_close_when_idle(connection: FakeConnection) -> None:
    """An idle connection ends with its client."""
    connection.receive(GET)
    connection.answers("GET")
    connection.half_close()
    assert connection.transport.is_closing() and connection.transport.written == b""


def test_a_client_that_leaves(connection: FakeConnection) -> None:
    """Requests of a client that has left are marked; their answers go nowhere, and are logged without bytes."""
    connection.receive(post(b"1") + post(b"2"))
    request = connection.script.submitted[0][0]
    connection.lose()
    assert request.disconnected
    assert connection.shared.open == set()
    connection.script.answer()
    assert connection.transport.written == b""
    assert connection.script.submitted == []
    assert connection.log.access == [("/score", 499, 0)]


# -- streams ---------------------------------------------------------------------------------------------------


def test_a_stream(connection: FakeConnection) -> None:
    """The head goes out at once and each chunk when it comes; then the connection goes on."""
    gate = Gate(100, 1.0)
    connection.receive(post(b"", "?stream") + GET)
    connection.script.answer(stream_headers())
    assert bytes(connection.transport.written).endswith(b"\r\nTransfer-Encoding: chunked\r\n\r\n")
    for chunk in (b"one", b"", b"three"):
        before = len(connection.transport.written)
        gate.take(len(chunk))
        connection.protocol.write(chunk, gate)
        assert (len(connection.transport.written) > before) is bool(chunk)
    connection.protocol.end()
    streamed, get = connection.answers("POST", "GET")
    assert (streamed.body, get.body) == (b"onethree", b"Healthy")
    assert connection.log.access == [("/score?stream", 200, 8), ("/", 200, 7)]


def test_an_empty_chunk_does_not_end_a_stream(connection: FakeConnection) -> None:
    """An item without bytes is no end: a chunk of size zero would be (RFC 9112, 7.1)."""
    connection.receive(post(b""))
    connection.script.answer(stream_headers())
    connection.transport.written.clear()
    connection.protocol.write(b"", Gate(100, 1.0))
    assert connection.transport.written == b""


def test_a_stream_for_head(connection: FakeConnection) -> None:
    """HEAD of a stream gets its head alone, and the producer is not held back."""
    gate = Gate(10, 1.0)
    connection.receive(b"HEAD /score HTTP/1.1\r\nHost: t\r\n\r\n")
    connection.script.answer(stream_headers())
    for _ in range(5):
        gate.take(10)
        connection.protocol.write(b"x" * 10, gate)
    connection.protocol.end()
    connection.receive(GET)
    head, get = connection.answers("HEAD", "GET")
    assert (head.body, get.body) == (b"", b"Healthy")


def test_a_stream_to_http_1_0_ends_with_the_connection(connection: FakeConnection) -> None:
    """A client of HTTP/1.0 gets plain bytes, also if it asked to keep the connection, and then the end."""
    connection.receive(b"GET /score HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
    connection.script.answer(stream_headers())
    connection.protocol.write(b"one", Gate(100, 1.0))
    assert not connection.transport.has_ended()
    connection.protocol.end()
    (answer,) = connection.answers("GET")
    assert (answer.body, answer.values("connection")) == (b"one", ["close"])
    assert connection.transport.has_ended()


def test_a_slow_client_holds_a_stream_back(connection: FakeConnection) -> None:
    """While the transport is full the producer's bytes stay taken; they are given back once it has room."""
    gate = Gate(10, 1.0)
    connection.receive(post(b""))
    connection.script.answer(stream_headers())
    gate.take(10)
    connection.protocol.write(b"x" * 10, gate)
    assert free_bytes(gate)
    gate.release(1)
    connection.protocol.pause_writing()
    gate.take(10)
    connection.protocol.write(b"y" * 10, gate)
    assert not free_bytes(gate)
    connection.protocol.resume_writing()
    assert free_bytes(gate)


def test_leaving_during_a_stream(connection: FakeConnection) -> None:
    """The producer of a stream learns that its client has left, also while it is held back."""
    gate = Gate(10, 1.0)
    connection.receive(post(b""))
    connection.script.answer(stream_headers())
    connection.protocol.pause_writing()
    gate.take(10)
    connection.protocol.write(b"x" * 10, gate)
    connection.lose()
    with pytest.raises(ClientGoneError):
        gate.take(1)


def test_leaving_before_the_first_chunk(connection: FakeConnection) -> None:
    """A client that leaves between the head and the first chunk ends the producer at its next chunk."""
    gate = Gate(10, 1.0)
    connection.receive(post(b""))
    connection.script.answer(stream_headers())
    connection.lose()
    gate.take(5)
    connection.protocol.write(b"12345", gate)
    with pytest.raises(ClientGoneError):
        gate.take(1)


def test_a_stream_that_breaks_off(connection: FakeConnection) -> None:
    """A stream that fails ends the connection without its last chunk, so that the client notices (RFC 9112, 8)."""
    connection.receive(post(b""))
    connection.script.answer(stream_headers())
    connection.protocol.write(b"some", Gate(100, 1.0))
    connection.protocol.abort()
    assert connection.transport.is_aborted()
    assert bytes(connection.transport.written).endswith(b"4\r\nsome\r\n")
    assert connection.log.access == [("/score", 200, 4)]


def test_a_stream_does_not_exceed_its_length(connection: FakeConnection) -> None:
    """Bytes beyond the Content-Length of the script's own are not sent: they would be read as the next answer."""
    connection.receive(post(b""))
    connection.script.answer(Response(200, b"", [("Content-Length", "3")], iter(())))
    connection.protocol.write(b"12", Gate(100, 1.0))
    connection.protocol.write(b"345", Gate(100, 1.0))
    connection.protocol.end()
    assert connection.answers("POST")[0].body == b"123"


def test_a_stream_that_falls_short_of_its_length(connection: FakeConnection) -> None:
    """After fewer bytes than announced no other answer can follow, so the connection ends (RFC 9112, 6.3)."""
    connection.receive(post(b""))
    connection.script.answer(Response(200, b"", [("Content-Length", "10")], iter(())))
    connection.protocol.write(b"12345", Gate(100, 1.0))
    connection.protocol.end()
    assert connection.transport.has_ended()


# -- timeouts --------------------------------------------------------------------------------------------------


def timed_out(connection: FakeConnection) -> bool:
    """Return whether a 408 was sent and the connection ended."""
    if not connection.transport.has_ended():
        return False
    (answer,) = connection.answers("GET")
    assert answer.status == 408 and set(json.loads(answer.body)) == {"message"}
    return True


def test_header_timeout(connection: FakeConnection) -> None:
    """A header block has to be complete within its time from its first byte, however it trickles in."""
    connection.receive(b"G")
    for piece in (b"ET / HTTP/1.1\r\n", b"Host: t\r\n", b"X-Slow: "):
        connection.pass_time(LIMITS.header_s / 4)
        connection.receive(piece)
    assert not connection.transport.has_ended()
    connection.pass_time(LIMITS.header_s / 4 + 1)
    assert timed_out(connection)


def test_body_timeout(connection: FakeConnection) -> None:
    """A body may pause for its time between two pieces, and no longer."""
    connection.receive(post(b"x" * 100)[:-100])
    for _ in range(3):
        connection.pass_time(LIMITS.body_s - 1)
        connection.receive(b"x")
    assert not connection.transport.has_ended()
    connection.pass_time(LIMITS.body_s + 1)
    assert timed_out(connection)


def test_request_timeout(connection: FakeConnection) -> None:
    """A request that always goes on has to be complete within its own time."""
    connection.receive(post(b"x" * 100)[:-100])
    for _ in range(int(LIMITS.request_s / 10)):
        connection.pass_time(10)
        assert not connection.transport.has_ended()
        connection.receive(b"x")
    connection.pass_time(1)
    assert timed_out(connection)
    assert connection.script.submitted == []


def test_keep_alive_timeout(connection: FakeConnection) -> None:
    """An idle connection is closed after its time, without an answer that nobody asked for."""
    connection.receive(GET)
    connection.answers("GET")
    connection.pass_time(LIMITS.keep_alive_s - 1)
    assert not connection.transport.is_closing()
    connection.pass_time(2)
    assert connection.transport.is_closing() and connection.transport.written == b""


def test_a_connection_that_never_asks(connection: FakeConnection) -> None:
    """A connection without any request is closed after the same time."""
    connection.pass_time(LIMITS.keep_alive_s - 1)
    assert not connection.transport.is_closing()
    connection.pass_time(2)
    assert connection.transport.is_closing()


def test_scoring_takes_as_long_as_it_takes(connection: FakeConnection) -> None:
    """No timeout of the connection ends a request that is being scored."""
    connection.receive(post(b"hello"))
    connection.pass_time(10_000)
    assert not connection.transport.is_closing()
    connection.script.answer()
    assert connection.answers("POST")[0].body == b"hello"
    connection.pass_time(LIMITS.keep_alive_s - 1)
    assert not connection.transport.is_closing()


def test_a_stream_may_pause(connection: FakeConnection) -> None:
    """A script that makes its chunks slowly is not cut off, and keep-alive counts from the end of its answer."""
    connection.receive(post(b""))
    connection.script.answer(stream_headers())
    connection.pass_time(10_000)
    connection.protocol.write(b"x", Gate(100, 1.0))
    connection.pass_time(10_000)
    connection.protocol.end()
    connection.pass_time(1)
    assert not connection.transport.is_closing()
    connection.pass_time(LIMITS.keep_alive_s)
    assert connection.transport.is_closing()


def test_the_time_of_a_pipelined_request_is_its_own(connection: FakeConnection) -> None:
    """The time of a request counts from its own first byte, not from that of the slow one before it."""
    body = b"x" * 100
    connection.receive(post(body)[:-50])
    for _ in range(5):
        connection.pass_time(LIMITS.header_s - 1)
        connection.receive(b"x" * 9)
    connection.receive(b"x" * 5 + GET[:10])
    connection.script.answer()
    connection.pass_time(1)
    assert not connection.transport.has_ended()
    connection.receive(GET[10:])
    assert [answer.status for answer in connection.answers("POST", "GET")] == [200, 200]


@pytest.mark.parametrize("begun", [GET[:10], post(b"hello")[:-2], post(b"", "", "Expect: 100-continue")[:-2]])
def test_the_time_of_a_request_does_not_run_while_another_is_answered(connection: FakeConnection, begun: bytes) -> None:
    """A request that has begun to arrive has its whole time once the one before it is answered."""
    connection.receive(post(b"1") + begun)
    connection.pass_time(LIMITS.request_s + 1)
    connection.script.answer()
    connection.pass_time(0)
    assert not connection.transport.has_ended()
    connection.answers("POST")
    connection.pass_time(LIMITS.request_s + 1)
    assert timed_out(connection)


@pytest.mark.parametrize("data", [post(b""), post(b"", "", "Connection: close")], ids=["keep-alive", "close"])
def test_write_timeout(connection: FakeConnection, data: bytes) -> None:
    """A client that takes nothing of its answer for the write timeout is cut off, after its last answer too."""
    connection.receive(data)
    connection.transport.unsent = 1_000_000
    connection.script.answer(Response(200, b"x" * 1_000_000))
    connection.protocol.pause_writing()
    connection.pass_time(LIMITS.write_s - 1)
    assert not connection.transport.is_closing()
    connection.pass_time(2)
    connection.pass_time(2)
    assert connection.transport.is_aborted()


@pytest.mark.parametrize("data", [post(b""), post(b"", "", "Connection: close")], ids=["keep-alive", "close"])
def test_a_client_that_reads_slowly(connection: FakeConnection, data: bytes) -> None:
    """A client that always takes a little of its answer is not cut off, however long it takes."""
    connection.receive(data)
    connection.transport.unsent = 1_000_000
    connection.script.answer(Response(200, b"x" * 1_000_000))
    connection.protocol.pause_writing()
    for _ in range(10):
        connection.pass_time(LIMITS.write_s - 1)
        connection.transport.unsent -= 10_000
        connection.pass_time(0)
    assert not connection.transport.is_closing()


def test_a_stream_that_nobody_reads(connection: FakeConnection) -> None:
    """The write timeout ends a stream whose client takes nothing, and its producer learns of it."""
    gate = Gate(10, 1.0)
    connection.receive(post(b""))
    connection.script.answer(stream_headers())
    gate.take(10)
    connection.transport.unsent = 1_000_000
    connection.protocol.pause_writing()
    connection.protocol.write(b"x" * 10, gate)
    connection.pass_time(LIMITS.write_s + 1)
    assert connection.transport.is_aborted()
    connection.lose()
    with pytest.raises(ClientGoneError):
        gate.take(1)


def test_timeouts_are_those_of_each_connection() -> None:
    """One late connection does not take the others with it."""
    late = FakeConnection()
    other, transport = late.shared(), FakeTransport()
    other.connection_made(transport)
    late.receive(GET[:10])
    late.pass_time(LIMITS.header_s + 1)
    assert timed_out(late)
    assert not transport.has_ended()


# -- stopping --------------------------------------------------------------------------------------------------


def test_a_stop_closes_idle_connections(connection: FakeConnection) -> None:
    """A connection without a request is closed at once when the worker stops."""
    connection.receive(GET)
    connection.answers("GET")
    connection.shared.close_idle()
    assert connection.transport.is_closing() and not connection.transport.is_aborted()


@pytest.mark.parametrize("made", ["before", "after"])
def test_a_stop_answers_a_client_that_has_just_connected(made: str) -> None:
    """A connection that was accepted around the stop has its first request answered, if that comes soon."""
    connection = FakeConnection()
    if made == "after":  # accepted already, but told of only after the stop
        connection.shared.close_idle(connection.clock() - 1.0)
        connection.transport, connection.protocol = FakeTransport(), connection.shared()
        connection.transport.set_protocol(connection.protocol)
        connection.protocol.connection_made(connection.transport)
    connection.pass_time(0.5)
    connection.shared.close_idle(connection.clock() - 1.0)
    assert not connection.transport.is_closing()
    connection.receive(GET)
    assert connection.answers("GET")[0].values("connection") == ["close"]
    assert connection.transport.has_ended()


def test_a_stop_does_not_wait_for_a_client_that_says_nothing(connection: FakeConnection) -> None:
    """A connection on which nothing comes is closed in the end."""
    connection.pass_time(1.1)
    connection.shared.close_idle(connection.clock() - 1.0)
    assert connection.transport.is_closing() and not connection.transport.is_aborted()


def test_a_stop_spares_connections_of_late(connection: FakeConnection) -> None:
    """A connection on which something came or went of late is kept, since a request may be on its way."""
    connection.receive(GET)
    connection.answers("GET")
    connection.pass_time(1.0)
    connection.shared.close_idle(connection.clock() - 2.0)
    assert not connection.transport.is_closing()
    connection.pass_time(1.5)
    connection.shared.close_idle(connection.clock() - 2.0)
    assert connection.transport.is_closing()


def test_a_stop_waits_for_answers(connection: FakeConnection) -> None:
    """A request that is being scored gets its answer, which says that it is the last."""
    connection.receive(post(b"hello"))
    connection.shared.close_idle()
    assert not connection.transport.is_closing()
    connection.script.answer()
    (answer,) = connection.answers("POST")
    assert (answer.body, answer.values("connection")) == (b"hello", ["close"])
    assert connection.transport.has_ended()


def test_a_stop_waits_for_requests_that_arrive(connection: FakeConnection) -> None:
    """A request that has begun to arrive is answered too."""
    data = post(b"hello")
    connection.receive(data[:-2])
    connection.shared.close_idle()
    assert not connection.transport.is_closing()
    connection.receive(data[-2:])
    connection.script.answer()
    assert connection.answers("POST")[0].values("connection") == ["close"]


def test_a_stop_that_waits_no_longer(connection: FakeConnection) -> None:
    """At the end of its patience a stop breaks every connection off."""
    connection.receive(post(b"hello"))
    connection.shared.abort_all()
    assert connection.transport.is_aborted()


@pytest.mark.parametrize("behind_nginx", [False, True])
def test_streams_ask_nginx_not_to_gather_them(behind_nginx: bool) -> None:
    """Behind nginx, the head of a stream, and of nothing else, says that it must not be buffered."""
    connection = FakeConnection(behind_nginx=behind_nginx)
    connection.receive(post(b"", "?stream") + GET)
    connection.script.answer(stream_headers())
    connection.protocol.end()
    streamed, get = (dict(answer.headers) for answer in connection.answers("POST", "GET"))
    assert ("x-accel-buffering" in streamed) is behind_nginx
    assert "x-accel-buffering" not in get
