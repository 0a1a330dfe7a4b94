"""Claims that a row of the table cannot state: they compare answers, or need several connections."""

from __future__ import annotations

import select
import socket
import time
from typing import TYPE_CHECKING

from tests.http.case import HEALTHY, Expect, chunked_head, chunks, echo, get, lines, post
from tests.http.runner import Address, check_answer
from tests.http.wire import Wire

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

_CHANGING = {"date", "x-request-id", "x-ms-request-id", "x-ms-run-fn-exec-ms"}

SPLIT_REQUESTS = {
    "get": (get("/score?a=%20b", "X-Echo: split"), echo("GET", echo="split", query="a=%20b")),
    "post": (post(b"hello\r\n\r\n", "X-Echo: split"), echo("POST", b"hello\r\n\r\n", echo="split")),
    "chunked": (
        chunked_head("X-Echo: split") + b"5;a=b\r\nhello\r\nA\r\n0123456789\r\n0\r\nX-After: 1\r\n\r\n",
        echo("POST", b"hello0123456789", echo="split"),
    ),
    "upgrade": (post(b"hello", "Upgrade: h2c", "Connection: upgrade"), echo("POST", b"hello")),
}


def check_split_anywhere(name: str, address: Address) -> None:
    """A request of two pieces is the same request, wherever it is cut."""
    request, expect = SPLIT_REQUESTS[name]
    with Wire(address) as wire:
        for cut in range(1, len(request)):
            wire.send(request[:cut])
            wire.quiet(3)
            wire.send(request[cut:])
            try:
                check_answer(wire.read_answer(), expect, last=False)
            except AssertionError as error:
                raise AssertionError(f"cut at {cut}, before {request[cut : cut + 20]!r}: {error}") from None


def check_byte_by_byte(name: str, address: Address) -> None:
    """A request of as many pieces as it has bytes is the same request."""
    request, expect = SPLIT_REQUESTS[name]
    with Wire(address) as wire:
        for at in range(len(request)):
            wire.send(request[at : at + 1])
            if at < len(request) - 1:
                wire.quiet(2)
        check_answer(wire.read_answer(), expect, last=False)


def check_head_has_the_fields_of_get(target: str, address: Address) -> None:
    """HEAD is answered with the header fields of GET and no content (RFC 9110 9.3.2)."""
    with Wire(address) as wire:
        wire.send(lines(f"HEAD {target} HTTP/1.1", "Host: t") + get(target))
        head, whole = wire.read_answer(head=True), wire.read_answer()
    assert head.status == whole.status
    # RFC 9112, 6.1: Transfer-Encoding may be left out of an answer to HEAD.
    fields = [field for field in whole.headers if field[0] != "transfer-encoding"]
    assert _steady(head.headers) == _steady(fields)


def _steady(headers: list[tuple[str, str]]) -> list[tuple[str, str]]:
    return sorted((name, value) for name, value in headers if name not in _CHANGING)


def check_stream_is_not_held_back(address: Address, gate: Path) -> None:
    """The first piece of a stream arrives while the script still works on the second."""
    with Wire(address) as wire:
        wire.send(get(f"/score?stream=gate&gate={gate}"))
        while b"piece-0;" not in wire.buffer:
            wire.wait_bytes(len(wire.buffer) + 1)
        assert b"piece-1;" not in wire.buffer
        gate.touch()
        check_answer(wire.read_answer(), Expect(200, body=b"piece-0;piece-1;", framing="chunked"), last=True)


def _abandon(address: Address, request: bytes, *, wait_for_answer: bool) -> None:
    """Send a request and reset the connection."""
    with socket.create_connection(address, timeout=20) as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 * 1024)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
        client.sendall(request)
        if wait_for_answer:
            client.recv(100)


def check_survives_clients_that_leave(address: Address) -> None:
    """A client that resets its connection, at whatever point, harms nobody else."""
    for request, wait in (
        (b"GET /sco", False),
        (post(b"hello")[:-2], False),
        (chunked_head() + chunks(b"hello")[:-4], False),
        (get("/score?sleep_ms=100"), False),
        (get("/score?sleep_ms=50") + get("/score") * 5, False),
        (get("/score?sleep_ms=100", "Connection: close"), False),
        (lines("GET /score?stream=1&sleep_ms=100 HTTP/1.0"), False),
        (get("/score?size=20000000"), True),
        (get("/score?stream=1") * 3, True),
        (post(b"hello", "Expect: 100-continue")[:-5], True),
    ):
        _abandon(address, request, wait_for_answer=wait)
        _check_serves(address)
    for _ in range(50):  # the client leaves between the answer and the refusal behind it, if the moment is right
        _abandon(address, get("/score") + b"malformed\r\n\r\n", wait_for_answer=True)
    _check_serves(address)


def _check_serves(address: Address) -> None:
    with Wire(address) as wire:
        wire.send(get("/") + post(b"still here"))
        check_answer(wire.read_answer(), HEALTHY, last=False)
        check_answer(wire.read_answer(), echo("POST", b"still here"), last=False)


def check_lingering_ends(address: Address, oversized: bytes, status: bytes, within_s: float = 15) -> None:
    """After a refusal the server reads on for a while, so as not to reset, but not for ever."""
    started = time.monotonic()
    with socket.create_connection(address, timeout=20) as client:
        client.sendall(oversized)
        answer = client.recv(4096)
        assert answer.startswith(b"HTTP/1.1 " + status), answer[:200]
        while time.monotonic() < started + within_s:
            try:
                client.sendall(b"x" * 10_000)
            except ConnectionError:
                return
            select.select([], [], [], 0.05)  # the pace of the client
    raise AssertionError(f"the server still reads {within_s:g} s after it refused the request")


def check_write_timeout(address: Address, timeout_s: float, fields: Sequence[str] = ()) -> None:
    """A client that reads nothing of its answer for too long is cut off, and others are served meanwhile."""
    with Wire(address, narrow=True) as wire, Wire(address) as other:
        wire.send(get("/score?size=40000000", *fields))
        wire.wait_bytes(1)
        until = time.monotonic() + timeout_s + 3
        while time.monotonic() < until:
            other.send(get("/"))
            check_answer(other.read_answer(), HEALTHY, last=False)
            select.select([], [], [], 0.2)  # the pace of the other client
        answer = wire.read_answer()
        assert not answer.complete, "the whole answer was still sent"


def check_slow_reader_is_served(address: Address, size: int, bytes_a_second: int, fields: Sequence[str] = ()) -> None:
    """A client that reads slowly and steadily gets its whole answer, however long it takes."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 * 1024)
        client.settimeout(20)
        client.connect(address)
        client.sendall(get(f"/score?size={size}", *fields))
        received = bytearray()
        while b"\r\n\r\n" not in received:
            received += client.recv(1000)
        started = time.monotonic()
        left = size - len(received.partition(b"\r\n\r\n")[2])
        while left > 0:
            data = client.recv(64 * 1024)
            assert data, f"the answer broke off {left} of {size} bytes before its end"
            left -= len(data)
            ahead_s = (size - left) / bytes_a_second - (time.monotonic() - started)
            select.select([], [], [], max(ahead_s, 0))  # the pace of the client


def check_cut_off_body_is_not_scored(address: Address, folder: Path) -> None:
    """`run()` is not called for a request whose client left before the body was whole (RFC 9112 8)."""
    whole, cut = folder / "whole", folder / "cut"
    for request in (
        post(b"hello", target=f"/score?mark={cut}")[:-2],
        chunked_head(target=f"/score?mark={cut}") + b"5\r\nhello\r\n",
    ):
        with Wire(address) as wire:
            wire.send(request)
            wire.quiet(50)
        with Wire(address) as wire:
            wire.send(post(b"hello", target=f"/score?mark={whole}"))
            check_answer(wire.read_answer(), echo("POST", b"hello"), last=False)
    assert whole.exists()
    assert not cut.exists()
