"""One client connection that sees everything: pieces as they are sent, answers, FIN and RST.

The reader of answers is strict, from RFC 9112 alone, and shares no code with the server.
"""

from __future__ import annotations

import os
import re
import select
import socket
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing_extensions import Self

PATIENCE_S = 20.0

_STATUS_LINE = re.compile(rb"HTTP/1\.1 ([1-5][0-9]{2}) ([\t\x20-\x7e\x80-\xff]*)")
_FIELD_LINE = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+):[ \t]*([\t\x20-\x7e\x80-\xff]*?)[ \t]*")
_CHUNK_SIZE = re.compile(rb"[0-9A-Fa-f]{1,8}")
_LENGTH = re.compile(r"[0-9]+")


class WireError(AssertionError):
    """What came over the wire breaks a rule, or did not come in time."""


@dataclass
class Answer:
    """One answer as it was read.

    Attributes:
        status: the status code.
        headers: the field lines in their order, names in lower case.
        body: the body without its framing.
        framing: `none`, `length`, `chunked` or `close`.
        complete: whether the body had its announced end.
    """

    status: int
    headers: list[tuple[str, str]]
    body: bytes = b""
    framing: str = "none"
    complete: bool = True
    chunk_sizes: list[int] = field(default_factory=list)

    def values(self, name: str) -> list[str]:
        """Return the values of all field lines of this name."""
        return [value for key, value in self.headers if key == name]

    def tokens(self, name: str) -> list[str]:
        """Return the elements of a list field, in lower case."""
        joined = ",".join(self.values(name))
        return [token.strip().lower() for token in joined.split(",") if token.strip()]


class Wire:
    """A connection to the server under test.

    Attributes:
        fault: how the connection broke (a reset, a broken pipe), or "".
        ended: whether the server has ended its side.
        buffer: bytes received that no answer has taken yet.
    """

    def __init__(self, address: tuple[str, int], *, narrow: bool = False) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        if narrow:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 * 1024)
        self._socket.settimeout(PATIENCE_S)
        self._socket.connect(address)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buffer = bytearray()
        self.ended = False
        self.fault = ""
        self.last_step_at = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def send(self, data: bytes) -> None:
        """Send all of `data`; a refusal is kept in `fault`, for an answer may still be there."""
        try:
            self._socket.sendall(data)
        except (ConnectionError, TimeoutError) as error:
            self.fault = self.fault or f"sending: {error!r}"

    def trickle(self, piece: bytes, ms: int) -> None:
        """Send a piece again and again until something arrives or the server ends the connection."""
        end = time.monotonic() + PATIENCE_S
        while not select.select([self._socket], [], [], ms / 1000)[0]:
            if time.monotonic() > end:
                raise WireError(f"nothing came for {PATIENCE_S:g} s, whatever was sent")
            self.send(piece)

    def half_close(self) -> None:
        """End the client's side."""
        try:
            self._socket.shutdown(socket.SHUT_WR)
        except OSError as error:
            self.fault = self.fault or f"half-close: {error!r}"

    def quiet(self, ms: int) -> None:
        """Check that nothing arrives for so long."""
        if self.buffer:
            raise WireError(f"bytes arrived too early: {bytes(self.buffer[:200])!r}")
        if select.select([self._socket], [], [], ms / 1000)[0] and not self.ended:
            self._receive()
            raise WireError(f"expected nothing yet, got {self._state()}")

    def wait_bytes(self, count: int) -> None:
        """Wait until `count` bytes are in the buffer."""
        while len(self.buffer) < count:
            self._need_more(f"{count} bytes")

    def wait_end(self, within_s: float = PATIENCE_S) -> bool:
        """Wait for the server's end (FIN or RST), keeping what comes before it; return whether it came."""
        deadline = time.monotonic() + within_s
        while not self.ended and (left := deadline - time.monotonic()) > 0:
            if select.select([self._socket], [], [], left)[0]:
                self._receive()
        self._note_reset()
        return self.ended

    def _note_reset(self) -> None:
        """Keep a reset that came after the FIN, which reading does not tell."""
        number = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if number:
            self.fault = self.fault or f"after the end: {os.strerror(number)}"

    def read_answer(self, *, head: bool = False) -> Answer:
        """Read the next answer, whole."""
        answer = self._read_head()
        lengths, codings = answer.values("content-length"), answer.tokens("transfer-encoding")
        if head or answer.status < 200 or answer.status in (204, 304):
            return answer
        if codings:
            answer.framing = "chunked"
            if codings != ["chunked"]:
                raise WireError(f"Transfer-Encoding is {codings}")
            self._read_chunks(answer)
        elif lengths:
            answer.framing = "length"
            if len(lengths) != 1 or not _LENGTH.fullmatch(lengths[0]):
                raise WireError(f"Content-Length is {lengths}")
            answer.body, answer.complete = self._take(int(lengths[0]))
        else:
            answer.framing = "close"
            if not self.wait_end():
                raise WireError("an answer without Content-Length or chunks, and the connection stays open")
            answer.body = bytes(self.buffer)
            self.buffer.clear()
        return answer

    def _read_head(self) -> Answer:
        status_line = _STATUS_LINE.fullmatch(self._line())
        if status_line is None:
            raise WireError("malformed status line")
        headers = []
        while line := self._line():
            found = _FIELD_LINE.fullmatch(line)
            if found is None:
                raise WireError(f"malformed field line {line!r}")
            headers.append((found[1].decode("ascii").lower(), found[2].decode("latin-1")))
        return Answer(int(status_line[1]), headers)

    def _read_chunks(self, answer: Answer) -> None:
        body = bytearray()
        while True:
            try:
                line = self._line()
            except WireError:
                if not self.ended:
                    raise
                answer.complete = False
                break
            if not _CHUNK_SIZE.fullmatch(line):
                raise WireError(f"malformed chunk size {line!r}")
            size = int(line, 16)
            if size == 0:
                while self._line():
                    pass
                break
            piece, answer.complete = self._take(size + 2)
            if answer.complete and not piece.endswith(b"\r\n"):
                raise WireError("no CRLF after the chunk")
            body += piece[:size]
            answer.chunk_sizes.append(size)
            if not answer.complete:
                break
        answer.body = bytes(body)

    def _line(self) -> bytes:
        while (end := self.buffer.find(b"\r\n")) < 0:
            self._need_more("a line")
        line = bytes(self.buffer[:end])
        del self.buffer[: end + 2]
        if b"\r" in line or b"\n" in line:
            raise WireError(f"bare CR or LF in {line!r}")
        return line

    def _take(self, size: int) -> tuple[bytes, bool]:
        while len(self.buffer) < size and not self.ended:
            self._receive()
        taken = bytes(self.buffer[:size])
        del self.buffer[:size]
        return taken, len(taken) == size

    def _need_more(self, what: str) -> None:
        if self.ended:
            raise WireError(f"waited for {what}, got {self._state()}")
        self._receive()

    def _receive(self) -> None:
        try:
            data = self._socket.recv(256 * 1024)
        except TimeoutError:
            raise WireError(f"nothing came for {PATIENCE_S:g} s; so far: {self._state()}") from None
        except ConnectionError as error:
            self.fault = self.fault or f"receiving: {error!r}"
            data = b""
        self.ended = self.ended or not data
        self.buffer += data

    def _state(self) -> str:
        end = f"{self.fault or 'FIN'}" if self.ended else "still open"
        return f"{bytes(self.buffer[:300])!r} ({end})"
