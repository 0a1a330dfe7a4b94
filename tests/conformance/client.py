"""Send one request exactly as it is written in its case, and read the answer whole."""

from __future__ import annotations

import socket
from contextlib import suppress
from dataclasses import dataclass
from http.client import HTTPException, HTTPResponse, IncompleteRead

from .cases import Request

TIMEOUT_S = 30.0
AGENT = "conformance"


@dataclass(frozen=True)
class Answer:
    """What a client sees of one exchange.

    `fault` says what broke the connection, empty when nothing did; `reuse` says what became of the connection
    ("reused" or "closed"), empty when the case is not about it.
    """

    status: int = 0
    reason: str = ""
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    fault: str = ""
    reuse: str = ""

    def header(self, name: str) -> list[str]:
        """Values of a header, in the order they came."""
        return [value for key, value in self.headers if key.lower() == name.lower()]


def encode(request: Request, host: str) -> bytes:
    """Write a request as bytes (RFC 9112), adding Host, User-Agent, Connection and the framing of the body."""
    if request.raw is not None:
        return request.raw
    given = {name.lower() for name, _ in request.headers}
    pairs = [("Host", host), ("User-Agent", AGENT), ("Connection", "close")]
    if request.keep_alive:
        pairs.pop()
    pairs = [pair for pair in pairs if pair[0].lower() not in given] + list(request.headers)
    body = request.body or b""
    if request.chunked:
        pairs.append(("Transfer-Encoding", "chunked"))
        middle = len(body) // 2
        body = b"".join(b"%x\r\n%b\r\n" % (len(p), p) for p in (body[:middle], body[middle:]) if p) + b"0\r\n\r\n"
    elif request.body is not None and "content-length" not in given:
        pairs.append(("Content-Length", str(len(body))))
    lines = [f"{request.method} {request.path} HTTP/{request.version}", *(f"{n}: {v}" for n, v in pairs)]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("utf-8") + body


def read_answer(connection: socket.socket, method: str) -> Answer:
    """Read one response: headers with their duplicates, and the body with its framing undone."""
    response = HTTPResponse(connection, method=method)
    fault, body = "", b""
    try:
        response.begin()
        body = response.read()
    except IncompleteRead as error:
        fault, body = "the body ended early", error.partial
    except HTTPException as error:
        return Answer(fault=f"no HTTP response: {type(error).__name__}")
    except OSError as error:
        return Answer(fault=f"no response: {type(error).__name__}")
    return Answer(response.status, response.reason, tuple(response.getheaders()), body, fault)


def still_open(connection: socket.socket, host: str) -> bool:
    """Whether a second request on the same connection is answered."""
    try:
        connection.sendall(f"GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
    except OSError:
        return False
    return read_answer(connection, "GET").status == 200


def exchange(request: Request, port: int) -> Answer:
    """Send a request to a server on loopback and read what comes back."""
    host = f"127.0.0.1:{port}"
    with socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT_S) as connection:
        with suppress(OSError):  # a request may be refused before it was read; the answer is read all the same
            connection.sendall(encode(request, host))
        answer = read_answer(connection, request.method)
        if not request.keep_alive:
            return answer
        reuse = "reused" if still_open(connection, host) else "closed"
    return Answer(answer.status, answer.reason, answer.headers, answer.body, answer.fault, reuse)


def get(path: str, port: int) -> Answer:
    """Ask for a path and nothing else."""
    return exchange(Request("get", "GET", path, (), None, False, "1.1", None, False), port)
