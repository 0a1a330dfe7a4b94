"""Clients that count every outcome, for tests of faults."""

from __future__ import annotations

import contextlib
import itertools
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator

from bench import in_threads

HEAD = b"POST /score HTTP/1.1\r\nHost: localhost\r\nx-request-id: %b\r\nContent-Length: 16\r\n\r\n"
BODY = b'{"data":[1,2,3]}'
CLIENTS = 8
PATIENCE_S = 20.0
# A connection is kept for so many requests, so that workers that were started later get some, too.
KEPT = 200
NAMES = {ConnectionResetError: "reset", ConnectionRefusedError: "refused", TimeoutError: "no answer in time"}


class Clients:
    """What clients saw; each sends one request after the other, over a connection that it keeps for a while.

    Args:
        port: where they post.
        pause_s: how long each waits between an answer and its next request.
        patience_s: how long each waits for an answer.

    Attributes:
        seen: how often each status, and each kind of broken connection, was seen since `begin`.
        answered: ids of the requests that were answered with 200, in all.
        away_s: the longest time without any answer of 200.
        slowest_s: the longest time that an answer took.
    """

    def __init__(self, port: int, pause_s: float = 0.0, patience_s: float = PATIENCE_S) -> None:
        self.seen: Counter[str] = Counter()
        self.answered: set[str] = set()
        self._ids = itertools.count()
        self.slowest_s = 0.0
        self._pause_s = pause_s
        self._patience_s = patience_s
        self.away_s = 0.0
        self._port = port
        self._last = time.perf_counter()
        self._lock = threading.Lock()
        self._done = threading.Event()

    @contextlib.contextmanager
    def busy(self) -> Iterator[None]:
        """Have them post."""
        with in_threads([self._post] * CLIENTS, self._done):
            yield

    def wait_for(self, more: int) -> None:
        """Wait for so many more successes."""
        wanted, end = self.seen["200"] + more, time.perf_counter() + PATIENCE_S
        while self.seen["200"] < wanted:
            if time.perf_counter() > end:
                raise RuntimeError(f"the service does not come back: {self.seen}")
            time.sleep(0.01)

    def begin(self) -> None:
        """Count and measure from now on."""
        with self._lock:
            self.seen.clear()
            self.away_s, self.slowest_s, self._last = 0.0, 0.0, time.perf_counter()

    def _note(self, what: str, request_id: str = "") -> None:
        with self._lock:
            self.seen[what] += 1
            if what == "200":
                self.answered.add(request_id)
                now = time.perf_counter()
                self.away_s = max(self.away_s, now - self._last)
                self._last = now

    def _post(self) -> None:
        while not self._done.is_set():
            try:
                with socket.create_connection(("127.0.0.1", self._port), self._patience_s) as sock:
                    self._post_over(sock)
            except OSError as error:
                self._note(NAMES.get(type(error), type(error).__name__))
                time.sleep(0.02)

    def _post_over(self, sock: socket.socket) -> None:
        """Post until the connection ends."""
        closing, left = False, KEPT
        while not (closing or left == 0 or self._done.is_set()):
            left -= 1
            begun = time.perf_counter()
            request_id = f"id-{next(self._ids)}"
            sock.sendall(HEAD % request_id.encode() + BODY)
            answer = b""
            while b"\r\n\r\n" not in answer:
                piece = sock.recv(65536)
                if not piece:
                    self._note("closed without an answer")
                    return
                answer += piece
            head, _, body = answer.partition(b"\r\n\r\n")
            fields = head.lower()
            length = int(fields.partition(b"content-length: ")[2].partition(b"\r\n")[0])
            while len(body) < length:
                body += sock.recv(65536)
            closing = b"connection: close" in fields
            self.slowest_s = max(self.slowest_s, time.perf_counter() - begun)
            self._note(head.split()[1].decode(), request_id)
            if self._pause_s:
                self._done.wait(self._pause_s)
