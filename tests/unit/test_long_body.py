"""Long bodies, which are read past llhttp: the same requests as others, in whatever pieces and on whatever loop."""

from __future__ import annotations

import asyncio
import random
import re
from collections.abc import Callable, Iterator

import pytest

from azmlinfsrv import protocol
from azmlinfsrv.admission import Admission, Bounds
from azmlinfsrv.long_body import LONG_BYTES, LongBody
from azmlinfsrv.messages import Response
from tests.unit.http_fakes import LIMITS, FakeConnection

BODY = bytes(range(256)) * 3600  # 921,600 bytes
GET = b"GET / HTTP/1.1\r\nHost: t\r\n\r\n"


def head(length: int, *lines: str, version: str = "1.1") -> bytes:
    """Return the head of a request to the script."""
    fields = "".join(f"{line}\r\n" for line in lines)
    return f"POST /score HTTP/{version}\r\nHost: t\r\nContent-Length: {length}\r\n{fields}\r\n".encode()


def receive(connection: FakeConnection, data: bytes, piece_bytes: int) -> None:
    """Have data arrive in pieces."""
    for start in range(0, len(data), piece_bytes):
        connection.receive(data[start : start + piece_bytes])


def receive_by_asyncio(connection: FakeConnection, data: bytes, piece_bytes: int) -> None:
    """Have data arrive as some of asyncio's transports do: a piece goes on to whom its beginning went to."""
    for start in range(0, len(data), piece_bytes):
        piece, reader = data[start : start + piece_bytes], connection.reader
        assert connection.transport.is_reading()
        if isinstance(reader, asyncio.BufferedProtocol):
            asyncio.protocols._feed_data_to_buffered_proto(reader, piece)  # type: ignore[attr-defined]
        else:
            reader.data_received(piece)


Receive = Callable[[FakeConnection, bytes, int], None]


@pytest.mark.parametrize("receiver", [receive, receive_by_asyncio])
@pytest.mark.parametrize("piece_bytes", [997, LONG_BYTES, 262_144, 2_000_000])
@pytest.mark.parametrize("line", ["X-A: 1", "Expect: 100-continue", "Upgrade: x", "Connection: keep-alive"])
def test_a_long_body(line: str, piece_bytes: int, receiver: Receive) -> None:
    """A long body is what was sent, however it comes, and the connection goes on behind it."""
    connection = FakeConnection()
    for _ in range(2):
        receiver(connection, head(len(BODY), line) + BODY, piece_bytes)
        request = connection.script.submitted[0][0]
        assert (request.body, request.body_bytes) == (BODY, len(BODY))
        assert request.headers[line.partition(":")[0].lower().encode()] == line.partition(": ")[2].encode()
        connection.script.answer(Response(200, b"long"))
        interim = line.startswith("Expect") and piece_bytes < len(BODY)
        assert [answer.status for answer in connection.answers("POST")] == ([100, 200] if interim else [200])
        receiver(connection, GET, piece_bytes)
        assert connection.answers("GET")[0].body == b"Healthy"


@pytest.mark.parametrize("receiver", [receive, receive_by_asyncio])
def test_what_is_behind_a_long_body(receiver: Receive) -> None:
    """What arrives together with the end of a long body is the next request, and a short body is still read."""
    connection = FakeConnection()
    begun = head(len(BODY)) + BODY[:300_000]
    receiver(connection, begun, len(begun))
    is_read_past = isinstance(connection.reader, LongBody)
    assert is_read_past
    rest = BODY[300_000:] + GET
    receiver(connection, rest, len(rest))
    assert connection.reader is connection.protocol
    assert not connection.transport.is_reading(), "the next request waits for the answer"
    connection.script.answer(Response(200, b"long"))
    assert [answer.body for answer in connection.answers("POST", "GET")] == [b"long", b"Healthy"]
    receiver(connection, head(2) + b"hi", 100)
    assert connection.script.submitted[0][0].body == b"hi"


def test_a_long_body_behind_another_request() -> None:
    """A long body is read beside the request that is being answered, and waits for its turn."""
    connection = FakeConnection()
    connection.receive(head(2) + b"hi" + head(len(BODY)) + BODY[:10])
    receive(connection, BODY[10:], 100_000)
    assert not connection.transport.is_reading()
    connection.script.answer(Response(200, b"short"))
    connection.script.answer(Response(200, b"long"))
    assert [answer.body for answer in connection.answers("POST", "POST")] == [b"short", b"long"]
    assert connection.transport.is_reading()


@pytest.mark.parametrize(
    ("version", "line", "kept"),
    [
        ("1.1", "Connection: close", False),
        ("1.0", "X-A: 1", False),
        ("1.0", "Connection: keep-alive", True),
        ("1.0", "Connection: keep-alive, close", False),  # llhttp would keep it
    ],
)
def test_the_end_of_the_connection(version: str, line: str, kept: bool) -> None:
    """Whether the connection goes on behind a long body is what its head says."""
    connection = FakeConnection()
    receive(connection, head(len(BODY), line, version=version) + BODY, 100_000)
    connection.script.answer(Response(200, b"long"))
    assert connection.transport.has_ended() is not kept
    assert connection.answers("POST")[0].body == b"long"


@pytest.mark.parametrize("ending", ["whole", "late"])
def test_a_long_body_is_not_kept(ending: str) -> None:
    """Who has read a body holds none of it behind its end: uvloop keeps the reader for as long as the connection."""
    connection = FakeConnection()
    connection.receive(head(len(BODY)) + BODY[:10])
    reader = connection.reader
    connection.receive(BODY[10:] if ending == "whole" else BODY[10:20])
    connection.pass_time(LIMITS.body_s + 1)
    assert connection.reader is connection.protocol
    held = [value for value in vars(reader).values() if isinstance(value, (bytearray, memoryview, bytes))]
    assert (len(held), max(map(len, held))) == (2, 0)


def test_memory_follows_what_has_arrived() -> None:
    """Who only says that much will come gets little memory, and what is held for it is counted."""
    limits = LIMITS._replace(body_bytes=100_000_000)
    connection = FakeConnection(limits)
    admission = connection.shared.admission = Admission(Bounds(body_bytes=100_000_000))
    connection.receive(head(90_000_000))
    assert connection.reader is connection.protocol, "nothing has come yet"
    connection.receive(bytes(4096))
    assert admission.held_bytes == 32 * 4096
    receive(connection, bytes(32 * 4096), LONG_BYTES)
    assert admission.held_bytes == 32 * 32 * 4096
    connection.lose()
    assert admission.held_bytes == 0


def test_no_room_for_a_long_body() -> None:
    """A long body for which there is no room any more is refused while it comes, and nothing of it is kept."""
    connection = FakeConnection()
    admission = connection.shared.admission = Admission(Bounds(body_bytes=1_000_000))
    connection.receive(head(len(BODY)) + BODY[:10])
    admission.held_bytes += 600_000  # meanwhile another's body has come
    connection.receive(BODY[10:100_000])
    assert connection.reader is connection.protocol
    assert (connection.answers("POST")[0].status, admission.held_bytes) == (503, 600_000)
    connection.receive(BODY[100_000:])  # is dropped
    assert connection.script.submitted == []


def test_a_long_body_that_is_given_up_by_asyncio() -> None:
    """What comes of a long body after it was refused is dropped, also where a loop goes on with its reader."""
    connection = FakeConnection()
    connection.receive(head(len(BODY)) + BODY[:10])
    reader = connection.reader
    connection.pass_time(LIMITS.body_s + 1)
    assert connection.answers("POST")[0].status == 408
    asyncio.protocols._feed_data_to_buffered_proto(reader, BODY[10:])  # type: ignore[attr-defined]
    assert not connection.script.submitted
    assert connection.transport.written == b""


def test_a_long_body_that_comes_slowly() -> None:
    """Each piece gives the client more time, and none comes for too long: 408."""
    connection = FakeConnection()
    connection.receive(head(len(BODY)) + BODY[:10])
    for start in range(10, 310, 100):
        connection.pass_time(LIMITS.body_s - 1)
        connection.receive(BODY[start : start + 100])
    assert connection.transport.written == b""
    connection.pass_time(LIMITS.body_s + 1)
    assert connection.answers("POST")[0].status == 408


def test_a_long_body_that_is_cut_off() -> None:
    """A client that ends its side within a long body gets 400, and nothing is scored."""
    connection = FakeConnection()
    connection.receive(head(len(BODY)) + BODY[:10])
    connection.half_close()
    assert (connection.answers("POST")[0].status, connection.script.submitted) == (400, [])


def test_writing_is_held_back_beside_a_long_body() -> None:
    """That a client reads slowly is known while its next body comes."""
    connection = FakeConnection()
    connection.receive(head(2) + b"hi" + head(len(BODY)) + BODY[:10])
    assert isinstance(connection.reader, LongBody)
    connection.transport.unsent = 5
    connection.reader.pause_writing()
    connection.pass_time(LIMITS.write_s + 1)
    assert connection.transport.is_aborted()
    connection.reader.resume_writing()


def test_chunked_bodies_are_not_read_past_llhttp() -> None:
    """Where a chunked body ends, only its chunks say."""
    connection = FakeConnection()
    connection.receive(b"POST /score HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\nfffff\r\nabc")
    assert connection.reader is connection.protocol


# -- any requests, in any pieces ---------------------------------------------------------------------------------

SIZES = (0, 1, 100, LONG_BYTES - 1, LONG_BYTES, LONG_BYTES + 1, 70_000, 131_072, 300_001)
FIELDS = ("", "", "X: 1\r\n", "Connection: x, CLOSE\r\n", "Upgrade: x\r\n", "Expect: 100-continue\r\n")


def any_requests(source: random.Random) -> bytes:
    """Return requests in a row with bodies short and long, counted and chunked; some are cut off or damaged."""
    data = b""
    for _ in range(source.randint(1, 5)):
        body, field = source.randbytes(source.choice(SIZES)), source.choice(FIELDS)
        post = f"POST /score HTTP/{source.choice(('1.1', '1.1', '1.1', '1.0'))}\r\nHost: t\r\n{field}"
        kind = source.random()
        if kind < 0.6:
            data += f"{post}Content-Length: {len(body)}\r\n\r\n".encode() + body
        elif kind < 0.8:
            data += f"{post}Transfer-Encoding: chunked\r\n\r\n{len(body):x}\r\n".encode() + body
            data += b"\r\n0\r\n\r\n" if body else b"\r\n"
        else:
            data += source.choice((GET, b"GET /nowhere HTTP/1.1\r\nHost: t\r\n\r\n"))
    if source.random() < 0.2:
        data = data[: source.randrange(len(data))]
    elif source.random() < 0.1:
        data = data.replace(b"t\r\n", b"\0\r\n", 1)
    return data


def cut(data: bytes, source: random.Random) -> Iterator[bytes]:
    """Yield the data in pieces of any size."""
    ends = sorted(source.randrange(len(data) + 1) for _ in range(source.choice((0, 1, 3, 10, 40))))
    for start, end in zip([0, *ends], [*ends, len(data)], strict=True):
        yield data[start:end]


def play(data: bytes, source: random.Random) -> tuple[list[tuple[bytes, dict[bytes, bytes]]], bytes, int]:
    """Return what the script got, what the client got but for the ids, and the bytes that are held in the end."""
    connection, got = FakeConnection(), []
    admission = connection.shared.admission = Admission(Bounds(body_bytes=10_000_000))
    for piece in cut(data, source):
        while piece or connection.script.submitted:
            if connection.script.submitted:
                request = connection.script.answer(Response(200, b"x"))
                got.append((bytes(request.body), dict(request.headers)))
                continue
            reader, taken = connection.reader, len(piece)
            if isinstance(reader, asyncio.BufferedProtocol):
                taken = min(taken, len(memoryview(reader.get_buffer(taken))))
            connection.receive(piece[:taken])
            piece = piece[taken:]
        if connection.transport.is_closing():
            break
    else:
        connection.lose()
    written = re.sub(rb"x-(ms-)?request-id: [^\r]*", b"", bytes(connection.transport.written))
    return got, written, admission.held_bytes


@pytest.mark.parametrize("seed", range(60))
def test_the_same_as_by_llhttp_alone(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever comes, in whatever pieces, script and client get the same as where llhttp reads all of it."""
    data = any_requests(random.Random(seed))  # noqa: S311 - data, not secrets
    found = play(data, random.Random(seed))  # noqa: S311
    monkeypatch.setattr(protocol, "LONG_BYTES", 2**40)
    assert found == play(data, random.Random(seed))  # noqa: S311
    assert found[2] == 0
