"""The table is well-formed, and the runner sees each fault that a server could have."""

from __future__ import annotations

import contextlib
import email.utils
import socket
import struct
import threading
from typing import TYPE_CHECKING

import pytest

from tests.http.case import HEALTHY, After, Case, Expect, HalfClose, Quiet, Unread, get, lines
from tests.http.runner import run_case
from tests.http.table import CASES

if TYPE_CHECKING:
    from collections.abc import Iterator

DATE = "Date: now"  # `canned` sends the time of the answer; a test's id must be the same in every process
ID = "x-request-id: 1"
GOOD = lines("HTTP/1.1 200 OK", DATE, ID, "Content-Length: 7") + b"Healthy"
CLOSING = lines("HTTP/1.1 200 OK", DATE, ID, "Content-Length: 7", "Connection: close") + b"Healthy"
REFUSAL = lines("HTTP/1.1 400 Bad Request", DATE, ID, "Content-Length: 4", "Connection: close") + b"text"
STREAM = lines("HTTP/1.1 200 OK", DATE, ID, "Transfer-Encoding: chunked")


@contextlib.contextmanager
def canned(answer: bytes, *, reset: bool = False, stay: bool = False) -> Iterator[tuple[str, int]]:
    """Serve one connection with these bytes, whatever it asks; then end, reset or keep it."""
    done = threading.Event()

    def serve() -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(65536)
            now = f"Date: {email.utils.formatdate(usegmt=True)}".encode()
            connection.sendall(answer.replace(DATE.encode(), now))
            if stay:
                done.wait(10)
            if reset:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield listener.getsockname()
        finally:
            done.set()
            thread.join()


def _case(*expect: Expect, after: After = After.CLOSED) -> Case:
    return Case("case", "0", "claim", (get("/"),), expect, after)


def _head(*fields: str) -> bytes:
    return lines("HTTP/1.1 200 OK", *fields)


def test_a_correct_answer_passes() -> None:
    """An answer that is as expected, announced close and FIN, is no fault."""
    with canned(CLOSING) as address:
        run_case(_case(Expect(200, body=b"Healthy")), address)


def test_a_broken_off_stream_passes_where_expected() -> None:
    """A stream without its last chunk is what `complete=False` expects."""
    with canned(STREAM + b"5\r\nhello\r\n") as address:
        run_case(_case(Expect(200, complete=False), after=After.ENDED), address)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (GOOD, "without `Connection: close`"),
        (CLOSING + b"more", "bytes after the last answer"),
        (_head(DATE, ID, "Content-Length: 8", "Connection: close") + b"Healthy", "complete is False"),
        (_head(DATE, ID, "Content-Length: 6", "Connection: close") + b"Health", "body of"),
        (_head(DATE, ID, "Content-Length: 7", "Content-Length: 7") + b"Healthy", "Content-Length is"),
        (_head(ID, "Content-Length: 7", "Connection: close") + b"Healthy", "Date"),
        (_head("Date: today", ID, "Content-Length: 7") + b"Healthy", "Date"),
        (_head("Date: Sun, 06 Nov 1994 08:49:37 GMT", ID, "Content-Length: 7") + b"Healthy", "Date is off"),
        (_head(DATE, "Content-Length: 7", "Connection: close") + b"Healthy", "x-request-id"),
        (_head(DATE, ID, "Bad : 1", "Content-Length: 7") + b"Healthy", "malformed field line"),
        (CLOSING.replace(b"HTTP/1.1", b"HTTP/1.0"), "malformed status line"),
        (CLOSING.replace(b"OK\r\n", b"OK\n"), "bare CR or LF"),
        (REFUSAL, "expected status"),
        (STREAM[:-2] + b"Content-Length: 7\r\n\r\n7\r\nHealthy\r\n0\r\n\r\n", "Content-Length beside"),
        (STREAM + b"7\r\nHealthy\r\n", "complete is False"),
        (STREAM + b"7\r\nHealthyXX0\r\n\r\n", "no CRLF after the chunk"),
        (STREAM + b"0x7\r\nHealthy\r\n0\r\n\r\n", "malformed chunk size"),
        (b"", "waited for a line"),
    ],
)
def test_faulty_answers_fail(answer: bytes, message: str) -> None:
    """An answer with this fault fails the case, and the message tells why."""
    with canned(answer) as address, pytest.raises(AssertionError, match=message):
        run_case(_case(Expect(200, body=b"Healthy")), address)


def test_an_error_that_is_not_json_fails() -> None:
    """An error whose body is text fails the case."""
    with canned(REFUSAL) as address, pytest.raises(AssertionError, match="an error is JSON"):
        run_case(_case(Expect(400)), address)


def test_a_body_for_head_fails() -> None:
    """A body after the answer to HEAD fails the case."""
    with canned(CLOSING) as address, pytest.raises(AssertionError, match="bytes after the last answer"):
        run_case(_case(Expect(200, head=True)), address)


def test_a_reset_after_the_answer_fails() -> None:
    """A reset instead of a FIN fails the case, even though the answer had arrived."""
    with canned(CLOSING, reset=True) as address, pytest.raises(AssertionError, match="the connection broke"):
        run_case(_case(HEALTHY), address)


def test_a_connection_that_stays_open_fails() -> None:
    """`Connection: close` without a FIN fails the case."""
    with canned(CLOSING, stay=True) as address, pytest.raises(AssertionError, match="still open"):
        run_case(_case(HEALTHY), address)


def test_a_connection_that_does_not_stay_open_fails() -> None:
    """A FIN after an answer that should keep the connection fails the case."""
    with canned(GOOD) as address, pytest.raises(AssertionError, match="waited for a line"):
        run_case(_case(HEALTHY, after=After.OPEN), address)


def test_an_answer_that_is_too_early_fails() -> None:
    """Bytes that arrive where the case says that none may fail it."""
    case = Case("case", "0", "claim", (get("/"), Quiet(1000)), (HEALTHY,))
    with canned(GOOD) as address, pytest.raises(AssertionError, match="expected nothing yet"):
        run_case(case, address)


def test_silence_passes_only_where_it_may() -> None:
    """An end without an answer passes a case that allows it, and no other."""
    steps = (get("/"), HalfClose())
    with canned(b"") as address:
        run_case(Case("case", "0", "claim", steps, (Expect(400),), After.ENDED, may_be_silent=True), address)
    with canned(b"") as address, pytest.raises(AssertionError, match="waited for a line"):
        run_case(Case("case", "0", "claim", steps, (Expect(400),), After.ENDED), address)


def test_the_end_must_not_come_too_early() -> None:
    """An end that comes too early fails a case that says when it comes."""
    case = Case("case", "0", "claim", (get("/"), Unread(1)), (HEALTHY,), After.ENDED, ends_after_ms=30_000)
    with canned(GOOD) as address, pytest.raises(AssertionError, match="ended after"):
        run_case(case, address)


def test_the_table_is_well_formed() -> None:
    """Names are unique, each case says what it claims and from where, and expects something."""
    assert len({case.id for case in CASES}) == len(CASES) >= 90
    for case in CASES:
        assert case.rfc[:4].isdigit(), case.id
        assert case.claim, case.id
        assert case.expect or case.after is After.ENDED, case.id
        assert case.after is not After.OPEN or case.http_minor or case.expect[-1].headers, case.id
