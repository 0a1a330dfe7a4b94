"""What the tests of nginx in front of the server share."""

from __future__ import annotations

import re
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import psutil

from tests.process.asking import PATIENCE_S
from tests.servers import RunningServer

UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")


def is_nginx(process: psutil.Process) -> bool:
    """Return whether a process is nginx's master or one of its workers."""
    with process.oneshot():
        return process.status() != psutil.STATUS_ZOMBIE and process.name() == "nginx"


def parts(server: RunningServer) -> tuple[psutil.Process, psutil.Process]:
    """Return the processes that the supervisor keeps up: nginx's master, and gunicorn's arbiter."""
    server.wait_until(lambda: len(psutil.Process(server.process.pid).children()) == 2)
    children = psutil.Process(server.process.pid).children()
    (master,) = [child for child in children if is_nginx(child)]
    (arbiter,) = [child for child in children if not is_nginx(child)]
    return master, arbiter


def assert_error(response: httpx.Response, status: int, message: str) -> None:
    """Check that an answer is one of the server's JSON errors."""
    assert response.status_code == status
    assert response.headers["content-type"] == "application/json"
    assert response.json() == {"message": message}
    assert response.headers["x-ms-server-version"].startswith("azmlinfsrv/")
    assert response.headers["x-ms-run-function-failed"] == "False"
    assert "nginx/" not in str(response.headers)


def raw(server: RunningServer, *pieces: bytes) -> bytes:
    """Return all that is answered to these bytes, up to the end of the connection."""
    with socket.create_connection(("127.0.0.1", server.port), PATIENCE_S) as sock:
        for piece in pieces:
            try:
                sock.sendall(piece)
            except (BrokenPipeError, ConnectionResetError):
                break
        answer = b""
        while data := sock.recv(65536):
            answer += data
        return answer


class Load:
    """What clients saw: each sends one request after the other over its own connection.

    Attributes:
        seen: how often each status, and each kind of broken connection, was seen.
        longest_s: the longest time without any success.
    """

    def __init__(self) -> None:
        self.seen: Counter[str] = Counter()
        self.longest_s = 0.0
        self._last = time.monotonic()
        self._lock = threading.Lock()

    def note(self, what: str) -> None:
        """Count an outcome."""
        with self._lock:
            self.seen[what] += 1
            if what == "200":
                now = time.monotonic()
                self.longest_s = max(self.longest_s, now - self._last)
                self._last = now

    def wait_for(self, more: int, server: RunningServer) -> None:
        """Wait for so many more successes."""
        wanted = self.seen["200"] + more
        server.wait_until(lambda: self.seen["200"] >= wanted, PATIENCE_S)

    def begin(self) -> None:
        """Measure from now on."""
        with self._lock:
            self.longest_s, self._last = 0.0, time.monotonic()


@contextmanager
def load(server: RunningServer, clients: int = 4) -> Iterator[Load]:
    """Have some clients post all the time."""
    counted, done = Load(), threading.Event()

    def post() -> None:
        with httpx.Client(base_url=server.url, timeout=PATIENCE_S, trust_env=False) as client:
            while not done.is_set():
                try:
                    response = client.post("/score", content=b'{"do": "sleep", "seconds": 0.002}')
                except httpx.TransportError as error:
                    counted.note(type(error).__name__)
                else:
                    counted.note(str(response.status_code))

    threads = [threading.Thread(target=post) for _ in range(clients)]
    for thread in threads:
        thread.start()
    try:
        yield counted
    finally:
        done.set()
        for thread in threads:
            thread.join(PATIENCE_S)


def lives(process: psutil.Process) -> bool:
    """Return whether a process is more than an entry that its parent has not collected."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
