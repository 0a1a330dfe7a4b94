"""Connections of clients that leave, and bodies that are refused before they are whole; with fakes as beside."""

from __future__ import annotations

import json

import pytest

from azmlinfsrv.admission import Admission, Bounds
from azmlinfsrv.errors import ClientLeftError
from azmlinfsrv.messages import ClientGoneError, Gate, Request, Response
from azmlinfsrv.outputs import error_response
from tests.unit.http_fakes import LIMITS, FakeConnection, FakeTransport, request

GET = b"GET / HTTP/1.1\r\nHost: t\r\n\r\n"
POST = b"POST /score HTTP/1.1\r\nHost: t\r\nContent-Length: 2\r\n\r\n{}"
CHUNKED = b"POST /score HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n"
GRACE_S = 1.0


class Leaving(FakeConnection):
    """A connection whose application drops the requests of clients that have left, if the test says so.

    Attributes:
        given_up: requests whose clients have left.
        drops: whether their requests still wait, so that they can be dropped.
    """

    def __init__(self, half_close_s: float = GRACE_S, *, drops: bool = True) -> None:
        super().__init__()
        self.given_up: list[Request] = []
        self.drops = drops
        self.shared.half_close_s = half_close_s
        self.shared.app.abandon = self._abandon

    def _abandon(self, request: Request) -> None:
        self.given_up.append(request)
        if self.drops:
            _, done = self.script.submitted.pop(0)
            done(request, error_response(ClientLeftError()))


# -- clients that leave ------------------------------------------------------------------------------------------------


def test_a_reset_is_a_client_that_left() -> None:
    """A connection that is lost has its waiting request dropped at once; the log says 499, as nginx does."""
    connection = Leaving()
    connection.receive(POST)
    connection.lose()
    (given_up,) = connection.given_up
    assert given_up.disconnected
    assert connection.log.access == [("/score", 499, 0)]
    assert connection.log.server[0][:2] == ("/score", 499)


def test_a_client_that_ends_its_side_is_given_a_moment() -> None:
    """One that may still read has its answer, if that comes soon; then it is taken to have left."""
    connection = Leaving()
    connection.receive(POST)
    connection.half_close()
    connection.pass_time(GRACE_S / 2)
    assert connection.given_up == []
    connection.pass_time(GRACE_S / 2)
    assert len(connection.given_up) == 1
    assert connection.log.access[0][1] == 499
    assert connection.transport.is_closing()
    connection.lose()
    assert len(connection.given_up) == 1


def test_a_client_that_leaves_after_a_long_wait() -> None:
    """One that ends its side after it has waited is gone at that moment: that is how clients end whose time is over."""
    connection = Leaving()
    connection.receive(POST)
    connection.pass_time(30.0)
    assert connection.given_up == []
    connection.half_close()
    assert len(connection.given_up) == 1
    assert connection.transport.is_closing()


def test_clients_that_end_their_side_may_be_waited_for() -> None:
    """Where the setting says so, such a client has its answer whenever it comes."""
    connection = Leaving(float("inf"))
    connection.receive(POST)
    connection.half_close()
    connection.pass_time(10_000.0)
    connection.script.answer()
    assert connection.given_up == []
    assert connection.answers("POST")[0].body == b"{}"


def test_a_call_that_cannot_be_dropped() -> None:
    """A run() that works already goes on; its answer is sent to a client that may still read it."""
    connection = Leaving(drops=False)
    connection.receive(POST)
    connection.half_close()
    connection.pass_time(2 * GRACE_S)
    connection.pass_time(2 * GRACE_S)
    assert len(connection.given_up) == 1
    connection.script.answer()
    assert connection.answers("POST")[0].status == 200
    assert connection.log.access == [("/score", 200, 2)]


def test_an_answer_that_nobody_is_there_for() -> None:
    """The access line of a request whose client left before its answer says 499, whatever run() returned."""
    connection = Leaving(drops=False)
    connection.receive(POST)
    connection.lose()
    connection.script.answer()
    assert connection.log.access == [("/score", 499, 0)]
    assert connection.log.server[0][:2] == ("/score", 200)


def test_requests_behind_one_that_is_dropped() -> None:
    """A client that ended its side with several requests on the way has them all answered or dropped, in order."""
    connection = Leaving()
    connection.receive(POST + POST + GET)
    connection.half_close()
    connection.pass_time(2 * GRACE_S)
    connection.pass_time(2 * GRACE_S)
    assert len(connection.given_up) == 2
    assert [status for _, status, _ in connection.log.access] == [499, 499, 200]
    assert connection.transport.is_closing()


@pytest.mark.parametrize("chunks", [0, 1])
def test_a_stream_whose_client_ended_its_side(chunks: int) -> None:
    """A stream is broken off once it has sent nothing for a while; until then such a client gets its chunks."""
    connection, gate = Leaving(drops=False), Gate(100, 1.0)
    connection.receive(POST)
    connection.script.answer(Response(200, b"", [("Content-Type", "text/plain")], iter(())))
    connection.half_close()
    for _ in range(chunks):
        connection.pass_time(0.9 * GRACE_S)
        connection.protocol.write(b"chunk", gate)
    connection.pass_time(0.9 * GRACE_S)
    assert not connection.transport.is_aborted()
    connection.pass_time(0.2 * GRACE_S)
    assert connection.transport.is_aborted()
    connection.lose()
    assert len(connection.given_up) == 1
    if chunks:
        with pytest.raises(ClientGoneError):
            gate.take(1)


def test_an_idle_client_that_leaves() -> None:
    """A client that has all its answers leaves nothing behind."""
    connection = Leaving()
    connection.receive(GET)
    connection.half_close()
    connection.lose()
    assert connection.given_up == []


# -- bodies that are not awaited ---------------------------------------------------------------------------------------


class Crowded(FakeConnection):
    """A connection to a worker that holds a million bytes of bodies, and has room for none or some.

    Attributes:
        admission: counts the bodies.
    """

    def __init__(self, room_bytes: int, body_bytes: int = 10_000_000) -> None:
        super().__init__(LIMITS._replace(body_bytes=body_bytes))
        self.admission = Admission(Bounds(body_bytes=1_000_000 + room_bytes))
        self.admission.check(request("POST", "/score", b"x" * 1_000_000))
        self.admission.pending += 1
        self.shared.admission = self.admission

    @property
    def held_bytes(self) -> int:
        """How many bytes are held for bodies that arrive."""
        return self.admission.held_bytes - 1_000_000


def head(length: int, *lines: str) -> bytes:
    """Return the head of a request with a body of this length."""
    fields = "".join(f"{line}\r\n" for line in ("Host: t", f"Content-Length: {length}", *lines))
    return f"POST /score HTTP/1.1\r\n{fields}\r\n".encode()


def test_a_body_for_which_there_is_no_room() -> None:
    """It is refused at its header with 503, when to come again, and the end of the connection; not after an upload."""
    connection = Crowded(500_000)
    connection.receive(head(600_000))
    (answer,) = connection.answers("POST")
    assert (answer.status, answer.values("retry-after"), answer.values("connection")) == (503, ["1"], ["close"])
    assert json.loads(answer.body) == {"message": "The requests that wait have too large bodies"}
    assert answer.values("x-request-id") and answer.values("x-ms-run-function-failed") == ["False"]
    assert connection.log.access == [("/score", 503, len(answer.body))]
    connection.receive(b"x" * 600_000)
    assert connection.transport.written == b"" and not connection.transport.is_aborted()
    assert connection.protocol._parser.known().body == b""
    assert (connection.held_bytes, connection.script.submitted) == (0, [])


def test_a_body_that_is_waited_for_is_not_asked_for() -> None:
    """A client that waits with its body has the refusal instead of 100 Continue."""
    connection = Crowded(500_000)
    connection.receive(head(600_000, "Expect: 100-continue"))
    assert [answer.status for answer in connection.answers("POST")] == [503]


def test_a_body_for_which_there_is_room() -> None:
    """It is held while it arrives, is submitted whole, and then counts with the request and not twice."""
    connection = Crowded(500_000)
    connection.receive(head(400_000, "Expect: 100-continue"))
    assert connection.transport.written == b"HTTP/1.1 100 Continue\r\n\r\n"
    connection.receive(b"x" * 100_000)
    assert connection.held_bytes == 400_000, "all that it may take, since a good part has come"
    connection.receive(b"x" * 200_000)
    assert connection.held_bytes == 400_000
    connection.receive(b"x" * 100_000)
    assert connection.held_bytes == 0
    assert len(connection.script.submitted[0][0].body) == 400_000


def test_a_chunked_body_that_grows() -> None:
    """A body without a length is refused when it has outgrown the room."""
    connection = Crowded(500_000)
    connection.receive(CHUNKED)
    piece = b"%x\r\n%b\r\n" % (100_000, b"x" * 100_000)
    for _ in range(5):
        connection.receive(piece)
    assert connection.held_bytes == 500_000
    connection.receive(piece)
    assert [answer.status for answer in connection.answers("POST")] == [503]
    assert connection.held_bytes == 0
    assert connection.protocol._parser.known().body == b""


@pytest.mark.parametrize("ending", ["lose", "half_close", "time", "invalid"])
def test_a_body_that_is_never_whole(ending: str) -> None:
    """What was held for it is free again, however it ends."""
    connection = Crowded(500_000)
    connection.receive(CHUNKED + b"186a0\r\n" if ending == "invalid" else head(400_000))
    connection.receive(b"x" * 100_000)
    # What comes after the first piece of a body of known length is read to where it stays.
    assert connection.held_bytes == (100_000 if ending == "invalid" else 400_000)
    if ending == "time":
        connection.pass_time(LIMITS.body_s + 1)
    elif ending == "invalid":
        connection.receive(b"not a chunk")
    else:
        getattr(connection, ending)()
    assert connection.held_bytes == 0


def test_a_large_body_behind_another_request() -> None:
    """Its refusal comes after the answer that is still to come."""
    connection = Crowded(0)
    connection.receive(POST + head(600_000))
    assert connection.transport.written == b""
    connection.script.answer()
    assert [answer.status for answer in connection.answers("POST", "POST")] == [200, 503]
    assert connection.transport.has_ended()


def test_many_uploads_at_once() -> None:
    """Of a thousand large uploads at once as many are taken as there is room for, and memory stays bounded."""
    room = 20_000_000
    crowded = Crowded(room)
    uploads = []
    for _ in range(1000):
        protocol, transport = crowded.shared(), FakeTransport()
        transport.set_protocol(protocol)
        protocol.connection_made(transport)
        transport.deliver(head(9_000_000))
        uploads.append(transport)
    most = 0
    for _ in range(9):
        for transport in uploads:
            if not transport.has_ended():
                transport.deliver(b"x" * 1_000_000)
                most = max(most, crowded.held_bytes)
    assert most <= room
    assert 1 <= len(crowded.script.submitted) <= 2
    assert sum(not transport.has_ended() for transport in uploads) == len(crowded.script.submitted)


def test_small_bodies_are_not_in_the_way() -> None:
    """Where there is no room at all for large bodies, small requests are taken."""
    connection = Crowded(0)
    for _ in range(3):
        connection.receive(POST)
        connection.script.answer()
    connection.receive(GET)
    assert [answer.status for answer in connection.answers("POST", "POST", "POST", "GET")] == [200] * 4
