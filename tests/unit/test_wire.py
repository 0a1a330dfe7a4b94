"""The bytes of responses, written from RFC 9112 and RFC 9110."""

from __future__ import annotations

from collections.abc import Iterator
from http import HTTPStatus

import pytest
from werkzeug.exceptions import default_exceptions
from werkzeug.http import HTTP_STATUS_CODES

from azmlinfsrv import wire
from azmlinfsrv.messages import Request, Response
from tests.unit.http_fakes import read_answers, request

DATE = "Thu, 01 Jan 1970 00:00:00 GMT"


def http_1_0() -> Request:
    """Return a request of HTTP/1.0."""
    old = request()
    old.version = "1.0"
    return old


def stream() -> Iterator[bytes]:
    """Return a stream."""
    return iter([b"one", b"two"])


def head_lines(response: Response, to: Request | None = None, keep_alive: bool = True) -> list[str]:
    """Return the lines of the head of a response."""
    text = wire.head(to or request(), response, DATE, keep_alive)[0].decode("latin-1")
    assert text.endswith("\r\n\r\n")
    return text[:-4].split("\r\n")


def test_head_is_written_to_the_letter() -> None:
    """The head of a plain answer is a status line, Server, Date, the fields in order, and the length."""
    response = Response(200, b"[1]", [("Content-Type", "application/json"), ("x-ms-run-function-failed", "False")])
    head, chunked, _ = wire.head(request(), response, DATE, True)
    assert head == (
        b"HTTP/1.1 200 OK\r\n"
        b"Server: azmlinfsrv\r\n"
        b"Date: Thu, 01 Jan 1970 00:00:00 GMT\r\n"
        b"Content-Type: application/json\r\n"
        b"x-ms-run-function-failed: False\r\n"
        b"Content-Length: 3\r\n"
        b"\r\n"
    )
    assert chunked is False


def test_head_of_a_head_request_has_the_length_of_the_get() -> None:
    """HEAD is answered with the same head as GET (RFC 9110, 9.3.2)."""
    response = Response(200, b"12345", [("Content-Type", "text/plain")])
    assert head_lines(response, request("HEAD")) == head_lines(response, request("GET"))
    assert "Content-Length: 5" in head_lines(response, request("HEAD"))


@pytest.mark.parametrize("status", [100, 101, 199, 204, 304])
def test_statuses_without_content(status: int) -> None:
    """1xx, 204 and 304 have no content (RFC 9110, 6.4.1)."""
    assert wire.has_body(status) is False


@pytest.mark.parametrize("status", [200, 201, 205, 206, 301, 400, 404, 500, 599])
def test_statuses_with_content(status: int) -> None:
    """Every other status has content, empty or not."""
    assert wire.has_body(status) is True


@pytest.mark.parametrize("status", [204, 304])
@pytest.mark.parametrize("streamed", [False, True])
def test_an_answer_without_content_is_not_framed(status: int, streamed: bool) -> None:
    """204 and 304 get neither a length of ours nor chunks (RFC 9110, 8.6; RFC 9112, 6.1)."""
    response = Response(status, b"", [], stream()) if streamed else Response(status, b"x")
    status_line, *fields = head_lines(response)
    assert status_line == f"HTTP/1.1 {status} {HTTPStatus(status).phrase.upper()}"
    assert [field.partition(":")[0] for field in fields] == ["Server", "Date"]
    assert wire.head(request(), response, DATE, True)[1] is False


def test_a_stream_is_chunked() -> None:
    """A stream of unknown length is chunked, and has no length (RFC 9112, 6.1)."""
    response = Response(200, b"", [], stream())
    assert head_lines(response)[3:] == ["Transfer-Encoding: chunked"]
    assert wire.head(request(), response, DATE, True)[1] is True


def test_a_stream_to_http_1_0_is_not_chunked() -> None:
    """A client of HTTP/1.0 is never sent a transfer coding (RFC 9112, 6.1)."""
    response = Response(200, b"", [], stream())
    assert head_lines(response, http_1_0(), keep_alive=False)[3:] == ["Connection: close"]
    assert wire.head(http_1_0(), response, DATE, False)[1] is False


def test_a_stream_whose_length_the_script_knows_is_not_chunked() -> None:
    """A script's own Content-Length of a stream stays, and the body is sent as it is."""
    response = Response(200, b"", [("Content-Length", "6")], stream())
    assert head_lines(response)[3:] == ["Content-Length: 6"]
    assert wire.head(request(), response, DATE, True)[1] is False


def test_the_length_of_a_whole_body_is_counted() -> None:
    """A script's own Content-Length of a whole body is replaced by the true one."""
    response = Response(200, b"12345", [("content-length", "3")])
    assert head_lines(response)[3:] == ["Content-Length: 5"]


def test_repeated_fields_stay_apart() -> None:
    """Each field of the same name is a line of its own, in order, as Set-Cookie needs (RFC 9110, 5.3)."""
    response = Response(200, b"", [("Set-Cookie", "a=1"), ("X-Other", "x"), ("Set-Cookie", "b=2; Path=/")])
    assert head_lines(response)[3:6] == ["Set-Cookie: a=1", "X-Other: x", "Set-Cookie: b=2; Path=/"]


@pytest.mark.parametrize(
    "field",
    [
        ("Connection", "upgrade"),
        ("transfer-encoding", "gzip"),
        ("Keep-Alive", "timeout=5"),
        ("DATE", "x"),
        ("Server", "y"),
    ],
    ids=lambda field: field[0],
)
def test_fields_of_the_connection_are_the_servers_own(field: tuple[str, str]) -> None:
    """A script cannot change the framing, the connection, or have two Dates and Servers (RFC 9110, 7.6.1)."""
    assert head_lines(Response(200, b"", [field])) == head_lines(Response(200, b""))


def test_the_last_answer_says_so() -> None:
    """An answer after which the connection ends has Connection: close (RFC 9112, 9.6)."""
    assert head_lines(Response(200, b""), keep_alive=False)[-1] == "Connection: close"
    assert head_lines(Response(200, b""), http_1_0(), keep_alive=False)[-1] == "Connection: close"


def test_an_http_1_0_connection_that_stays_open_says_so() -> None:
    """HTTP/1.0 closes by default, so keeping the connection has to be said (RFC 9112, 9.3)."""
    assert head_lines(Response(200, b""), http_1_0())[-1] == "Connection: keep-alive"
    assert not any(line.startswith("Connection:") for line in head_lines(Response(200, b"")))


@pytest.mark.parametrize("status", [200, *sorted(default_exceptions)])
def test_reason_phrases_are_those_of_the_release(status: int) -> None:
    """The reason phrase is werkzeug's in capitals, as release 1.5.1 sends it, on every version of Python."""
    assert head_lines(Response(status, b""))[0] == f"HTTP/1.1 {status} {HTTP_STATUS_CODES[status].upper()}"


def test_an_unknown_status_has_a_reason_phrase() -> None:
    """A status that nobody has defined can be sent."""
    assert head_lines(Response(299, b""))[0] == "HTTP/1.1 299 UNKNOWN"


def test_the_scripts_own_reason_phrase_is_sent() -> None:
    """A reason phrase of the script's replaces the usual one for that answer alone."""
    assert head_lines(Response(200, b"", reason="Very Well"))[0] == "HTTP/1.1 200 Very Well"
    assert head_lines(Response(200, b""))[0] == "HTTP/1.1 200 OK"


@pytest.mark.parametrize("text", ["a\r\nX-Evil: 1", "a\nX-Evil: 1", "a\r\n\r\n<html>"])
def test_a_reason_phrase_cannot_add_fields(text: str) -> None:
    """A reason phrase is one line, whatever the script puts into it (RFC 9112, 4)."""
    (answer,) = read_answers(wire.head(request(), Response(200, b"", reason=text), DATE, True)[0], "GET")
    assert [name for name, _ in answer.headers] == ["server", "date", "content-length"]


def test_characters_outside_of_latin_1_are_replaced() -> None:
    """A field value that HTTP/1.1 cannot carry does not break the answer."""
    assert "X-Name: Zo\xeb ?" in head_lines(Response(200, b"", [("X-Name", "Zo\xeb \u4f60")]))


@pytest.mark.parametrize("size", [1, 15, 16, 255, 65536])
def test_chunks_are_framed(size: int) -> None:
    """A chunk is its size in hexadecimal, its data, and line ends (RFC 9112, 7.1); a size of zero ends the body."""
    data = b"x" * size
    head = wire.head(request(), Response(200, b"", [], stream()), DATE, True)[0]
    (answer,) = read_answers(head + wire.chunk(data) + wire.chunk(b"y") + wire.LAST_CHUNK, "GET")
    assert answer.body == data + b"y"
    assert wire.chunk(b"hello") == b"5\r\nhello\r\n"
