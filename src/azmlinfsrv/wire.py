"""The bytes of HTTP/1.1 responses (RFC 9112), and how long each part of a request may take."""

from __future__ import annotations

import functools
from http import HTTPStatus
from typing import NamedTuple

from azmlinfsrv.messages import Request, Response

# Release 1.5.1 sends werkzeug's reason phrases in capitals; these differ from the standard library's.
_PHRASES = {
    413: "REQUEST ENTITY TOO LARGE",
    414: "REQUEST URI TOO LONG",
    416: "REQUESTED RANGE NOT SATISFIABLE",
    418: "I'M A TEAPOT",
    422: "UNPROCESSABLE ENTITY",
}
_STANDARD = {status.value: status.phrase.upper() for status in HTTPStatus}
_LINES: dict[int, str] = {}
_joined = ": ".join
_OURS = frozenset({"connection", "transfer-encoding", "keep-alive", "date", "server"})

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
LAST_CHUNK = b"0\r\n\r\n"


class Limits(NamedTuple):
    """Limits of a connection; sizes in bytes, times in seconds.

    Attributes:
        body_bytes: largest body.
        header_bytes: largest request line and header block.
        header_s: from the first byte of a request to the end of its header block.
        body_s: between two pieces of a body.
        request_s: from the first byte of a request to its last.
        keep_alive_s: without any request.
        write_s: without the client accepting more of an answer.
    """

    body_bytes: int
    header_bytes: int
    header_s: float
    body_s: float
    request_s: float
    keep_alive_s: float
    write_s: float


def status_line(status: int, reason: str = "") -> str:
    """Return the status line and the Server field, up to the value of Date."""
    if reason:
        reason = "".join(filter(str.isprintable, reason))
        return f"HTTP/1.1 {status} {reason}\r\nServer: azmlinfsrv\r\nDate: "
    line = _LINES.get(status)
    if line is None:
        phrase = _PHRASES.get(status) or _STANDARD.get(status, "UNKNOWN")
        line = _LINES[status] = status_line(status, phrase)
    return line


def has_body(status: int) -> bool:
    """Return whether answers of this status have content (RFC 9110, 6.4.1)."""
    return status >= 200 and status not in (204, 304)


@functools.lru_cache(256)
def _kind(name: str) -> str:
    """Return "ours" for a field that is written here whatever the script says, "length", or "" for any other."""
    lower = name.lower()
    return "ours" if lower in _OURS else "length" if lower == "content-length" else ""


def head(request: Request, response: Response, date: str, keep_alive: bool) -> tuple[bytes, bool, int | None]:
    """Return the head of a response, whether its body is chunked, and how long a stream said that it is.

    A stream to a client of HTTP/1.0 is neither chunked nor counted: its end is the end of the connection.
    """
    stream, status = response.stream, response.status
    lines = [f"{status_line(status, response.reason)}{date}"]
    lines += [_joined(field) for field in response.headers if not _kind(field[0])]
    length, chunked = None, False
    if stream is None:
        if has_body(status):
            lines.append(f"Content-Length: {len(response.body)}")
    else:
        length = _said_length(response)
        if length is not None:
            lines.append(f"Content-Length: {length}")
        elif request.version == "1.1" and has_body(status) and request.method != "HEAD":
            chunked = True
            lines.append("Transfer-Encoding: chunked")
    if not keep_alive:
        lines.append("Connection: close")
    elif request.version == "1.0":
        lines.append("Connection: keep-alive")
    lines.append("\r\n")
    return "\r\n".join(lines).encode("latin-1", "replace"), chunked, length


def _said_length(response: Response) -> int | None:
    """Return how long a stream said that it is, first, in digits."""
    values = (value for name, value in response.headers if _kind(name) == "length" and value.isdigit())
    return next(map(int, values), None)


def chunk(data: bytes) -> bytes:
    """Return one chunk of a chunked body (RFC 9112, 7.1)."""
    return b"%x\r\n%b\r\n" % (len(data), data)
