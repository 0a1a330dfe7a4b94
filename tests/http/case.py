"""What a case of the HTTP/1.1 table is made of: steps a client takes, answers it must get, how it ends.

A case is data. `runner.run_case` plays it against an address. RFC numbers are sections of
RFC 9112 (messages, connections) and RFC 9110 (semantics).
"""

from __future__ import annotations

import enum
import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

CRLF = b"\r\n"

MAX_BODY_BYTES = 1024 * 1024
MAX_HEADER_BYTES = 16 * 1024
# Longer than what a busy machine may keep a client from its next step.
HEADER_TIMEOUT_MS = 2500
BODY_TIMEOUT_MS = 2500
REQUEST_TIMEOUT_MS = 5000
KEEP_ALIVE_TIMEOUT_MS = 4000
WRITE_TIMEOUT_MS = 2500


@dataclass(frozen=True)
class Wait:
    """Step: wait until this many bytes have arrived that no answer has taken yet."""

    byte_count: int = 1


@dataclass(frozen=True)
class Answers:
    """Step: read and check the next `count` expected answers before going on."""

    count: int = 1


@dataclass(frozen=True)
class Quiet:
    """Step: nothing arrives, no byte and no end, for this long. Also paces a slow client."""

    ms: int


@dataclass(frozen=True)
class Trickle:
    """Step: send a piece again and again, so long apart, until something arrives or the connection ends."""

    piece: bytes
    ms: int


@dataclass(frozen=True)
class Unread:
    """Step: the client reads nothing for this long, whatever arrives."""

    ms: int


@dataclass(frozen=True)
class HalfClose:
    """Step: the client ends its side of the connection, and still reads."""


Step = bytes | Wait | Answers | Quiet | Trickle | Unread | HalfClose


class After(enum.Enum):
    """What the connection does after the last expected answer."""

    OPEN = "serves another request"
    CLOSED = "ends as the answer's `Connection: close` said: with a FIN at once, no byte and no reset before it"
    ENDED = "ends like CLOSED, announced or not"
    EITHER = "serves another request, or says `Connection: close` and ends"


@dataclass(frozen=True)
class Expect:
    """One expected answer.

    Attributes:
        status: the status, or those of which one must come.
        body: the exact body, where one is expected.
        fields: members that the answer's JSON object must have, with their values.
        headers: header fields that must be there with this value (compared without case; `*` is any).
        without: header fields that must not be there.
        head: whether it answers a HEAD request, so that no body follows.
        framing: how the body ends: `length`, `chunked`, `close` or `none`; "" takes any that is allowed.
        complete: False where the server must break the body off.
    """

    status: int | tuple[int, ...]
    body: bytes | None = None
    fields: Mapping[str, object] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    without: tuple[str, ...] = ()
    head: bool = False
    framing: str = ""
    complete: bool = True

    @property
    def statuses(self) -> tuple[int, ...]:
        """The statuses of which one must come."""
        return (self.status,) if isinstance(self.status, int) else self.status


@dataclass(frozen=True)
class Case:
    """One row of the table.

    Attributes:
        id: name of the case.
        rfc: where the claim comes from.
        claim: what is claimed.
        steps: what the client does; bytes are sent as they are, in one piece.
        expect: the answers, in order; an interim answer (100) is one of them.
        after: what the connection does then.
        asgi: whether it applies to the ASGI adapter behind another server's parser.
        http_minor: version of the last request that is answered; 1.0 knows no `Transfer-Encoding`.
        extra_interim: whether a 100 that is not among the expected answers is fine.
        may_be_silent: whether ending the connection without the last answer is fine.
        narrow: whether the client's receive buffer is small, so that the server must wait for it to read.
        ends_after_ms: earliest time from the last bytes that are a step, or from the connection, to its end.
    """

    id: str
    rfc: str
    claim: str
    steps: tuple[Step, ...]
    expect: tuple[Expect, ...] = ()
    after: After = After.OPEN
    asgi: bool = False
    http_minor: int = 1
    extra_interim: bool = False
    may_be_silent: bool = False
    narrow: bool = False
    ends_after_ms: int | None = None


def lines(*text: str | bytes) -> bytes:
    """Return a header block: each line ended by CRLF, and the empty line."""
    return b"".join(_latin(line) + CRLF for line in text) + CRLF


def _latin(line: str | bytes) -> bytes:
    return line.encode("latin-1") if isinstance(line, str) else line


def get(target: str = "/", *fields: str | bytes) -> bytes:
    """Return a GET request of HTTP/1.1 with Host and these field lines."""
    return lines(f"GET {target} HTTP/1.1", "Host: t", *fields)


def post(body: bytes = b"", *fields: str | bytes, target: str = "/score") -> bytes:
    """Return a POST request of HTTP/1.1 with Host, Content-Length and these field lines."""
    return lines(f"POST {target} HTTP/1.1", "Host: t", f"Content-Length: {len(body)}", *fields) + body


def chunked_head(*fields: str | bytes, target: str = "/score") -> bytes:
    """Return the header block of a POST request whose body is chunked."""
    return lines(f"POST {target} HTTP/1.1", "Host: t", "Transfer-Encoding: chunked", *fields)


def chunks(*pieces: bytes) -> bytes:
    """Return a chunked body of these pieces, last chunk included."""
    return b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"


def filler(size: int) -> bytes:
    """Return this many digits: what the script answers to `?size=`."""
    return (b"0123456789" * (size // 10 + 1))[:size]


HEALTHY = Expect(200, body=b"Healthy", framing="length", headers={"content-length": "7"})


def echo(method: str = "GET", body: bytes = b"", **fields: object) -> Expect:
    """Expect the script's account of the request: method, body length and SHA-256."""
    digest = hashlib.sha256(body).hexdigest()
    return Expect(200, fields={"method": method, "length": len(body), "sha256": digest, **fields})


def error(*statuses: int, **headers: str) -> Expect:
    """Expect an error with one of these statuses; that it is JSON with an id is checked of every error."""
    return Expect(statuses, headers={name.replace("_", "-"): value for name, value in headers.items()})


CONTINUE = Expect(100, body=b"", framing="none", without=("content-length", "transfer-encoding"))
NOT_ALLOWED = Expect(
    405,
    fields={"message": "The method is not allowed for the requested URL."},
    headers={"allow": "*"},
)
NOT_FOUND = Expect(404)
BAD_REQUEST = Expect(400)
REFUSED_AND_CLOSED = Expect(400, headers={"connection": "close"})
TOO_LARGE = Expect(413, headers={"connection": "close"})
TIMED_OUT = Expect(408, headers={"connection": "close"})
