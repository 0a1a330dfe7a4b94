"""The clients of the soak: each kind of request, and what must come of it."""

from __future__ import annotations

import contextlib
import functools
import json
import random
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator

from bench import in_threads

THREADS = 16
PATIENCE_S = 30.0
# How often each kind is asked for, of a thousand requests.
MIX = {"add": 890, "fail": 40, "stream": 30, "leave": 25, "bad": 15}
# A call that runs into the timeout, by one client alone.
LATE_PERIOD_S = 20.0
# A connection is kept for so many requests.
KEPT = 50
# How long after the end of a worker its requests' end may be seen; nginx says it by 502.
DISTURBED_S = 10.0
BAD_GATEWAY = 502
# How long a connection may have been idle, so that a server that ends it is not to blame.
_IDLE_S = 0.5
_PROBLEMS = 20


class SoakClients:
    """Asks for everything, and checks each answer.

    Args:
        port: where the server is.

    Attributes:
        seen: how often each kind was asked for and ended as it must, and what else was seen.
        problems: the first answers that were not what they must be.
    """

    def __init__(self, port: int) -> None:
        self.seen: Counter[str] = Counter()
        self.problems: list[str] = []
        self._port = port
        self._lock = threading.Lock()
        self._done = threading.Event()
        self._rate = 0.0
        self._next = 0.0
        self._disturbed = float("-inf")

    def capacity(self, seconds: float) -> float:
        """Return how many requests/s are answered when each client asks as fast as it can."""
        with self.asking(float("inf")):
            threading.Event().wait(seconds)
        counted = sum(self.seen.values()) / seconds
        self.seen.clear()
        return counted

    @contextlib.contextmanager
    def asking(self, rate: float) -> Iterator[None]:
        """Have clients ask, all together so many times a second."""
        self._done.clear()
        self._rate, self._next = rate, time.perf_counter()
        asks: list[Callable[[], None]] = [functools.partial(self._ask_all, number) for number in range(THREADS)]
        if rate < float("inf"):
            asks.append(self._ask_late)
        with in_threads([functools.partial(self._until_wrong, ask) for ask in asks], self._done):
            yield

    def check(self) -> None:
        """Note kinds of which none ended as it must; at the end."""
        never = [kind for kind in MIX if not self.seen[f"{kind}: as it must"]]
        if never:
            self.problems.append(f"never as it must: {', '.join(never)}")

    def disturb(self) -> None:
        """Say that a worker is about to be killed: each client may lose a request soon."""
        self._disturbed = time.perf_counter()

    def _until_wrong(self, ask: Callable[[], None]) -> None:
        """Ask; a client that ends too soon is a problem."""
        try:
            ask()
        except Exception as error:
            self.problems.append(f"a client ended: {error!r}")
            raise

    def _turn(self) -> bool:
        """Wait for the time of the next request; returns False at the end."""
        with self._lock:
            now = time.perf_counter()
            self._next = max(self._next, now - 1.0) + 1 / self._rate
            pause = self._next - now
        return not self._done.wait(max(0.0, pause))

    def _ask_all(self, seed: int) -> None:
        chance = random.Random(seed)  # noqa: S311 - no secret
        kinds, weights = list(MIX), list(MIX.values())
        connection = Connection(self._port)
        while self._turn():
            kind = chance.choices(kinds, weights)[0]
            self._ask(connection, kind)
        connection.close()

    def _ask_late(self) -> None:
        """Now and then call what runs into the timeout."""
        connection = Connection(self._port)
        while not self._done.wait(LATE_PERIOD_S / 4):
            self._ask(connection, "late")
            self._done.wait(LATE_PERIOD_S * 3 / 4)
        connection.close()

    def _ask(self, connection: Connection, kind: str) -> None:
        try:
            status, body = connection.ask(kind)
        except (OSError, ValueError) as error:
            connection.close()
            self._note(kind, f"{type(error).__name__} {error}", may_be_lost=True)
            return
        wrong = "" if is_right(kind, status, body) else f"{status} {body[:100]!r}"
        self._note(kind, wrong, may_be_lost=status == BAD_GATEWAY)

    def _note(self, kind: str, wrong: str, *, may_be_lost: bool) -> None:
        with self._lock:
            if wrong and may_be_lost and time.perf_counter() - self._disturbed < DISTURBED_S:
                self.seen["lost with the killed worker"] += 1
                return
            self.seen[f"{kind}: {'something else' if wrong else 'as it must'}"] += 1
            if wrong and len(self.problems) < _PROBLEMS:
                self.problems.append(f"{kind}: {wrong}")


def is_right(kind: str, status: int, body: bytes) -> bool:
    """Return whether an answer is what it must be; any call may run into the timeout on a machine that stands still."""
    if kind == "leave":
        return True
    if b"Scoring timeout" in body:
        return status == 500
    if kind == "add":
        return status == 200 and json.loads(body)["sum"] == 6
    if kind == "stream":
        return status == 200 and body == b"".join(b"%d\n" % number for number in range(20))
    return status == {"fail": 500, "bad": 404, "late": 500}[kind]


class Connection:
    """One client's connection, made again where it has ended.

    Args:
        port: where the server is.
    """

    def __init__(self, port: int) -> None:
        self._port = port
        self._sock: socket.socket | None = None
        self._asked = 0
        self._used = 0.0

    def ask(self, kind: str) -> tuple[int, bytes]:
        """Return status and body of the answer.

        Raises:
            OSError: the connection broke.
            ValueError: the answer is not whole.
        """
        is_new = self._sock is None
        try:
            return self._ask(kind)
        except OSError:
            if is_new or time.perf_counter() - self._used < _IDLE_S:
                raise
            self.close()  # the server ended it while nothing was asked
            return self._ask(kind)

    def close(self) -> None:
        """End it."""
        if self._sock is not None:
            self._sock.close()
            self._sock = None

    def _ask(self, kind: str) -> tuple[int, bytes]:
        if self._sock is None or self._asked >= KEPT:
            self.close()
            self._sock = socket.create_connection(("127.0.0.1", self._port), PATIENCE_S)
            self._asked = 0
        self._asked += 1
        body = json.dumps({"do": kind, "data": [1, 2, 3]}).encode()
        path = "/nowhere" if kind == "bad" else "/score"
        head = f"POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: {len(body)}\r\n\r\n"
        self._sock.sendall(head.encode() + body)
        if kind == "leave":
            self.close()
            return 0, b""
        status, answer, is_last = read_answer(self._sock)
        self._used = time.perf_counter()
        if is_last:
            self.close()
        return status, answer


def read_answer(sock: socket.socket) -> tuple[int, bytes, bool]:
    """Return status, body, and whether the connection ends with this answer.

    Raises:
        OSError: the connection ended.
        ValueError: within a body.
    """
    with sock.makefile("rb") as file:
        line = file.readline()
        if not line:
            raise ConnectionResetError("closed without an answer")
        fields: dict[str, str] = {}
        while (field := file.readline()) not in (b"\r\n", b""):
            name, _, value = field.decode("latin-1").partition(":")
            fields[name.lower()] = value.strip()
        if fields.get("transfer-encoding") == "chunked":
            body = b""
            while size := int(file.readline(), 16):
                body += file.read(size)
                file.readline()
            file.readline()
        else:
            length = int(fields["content-length"])
            body = file.read(length)
            if len(body) < length:
                raise ValueError("the body is cut off")
    return int(line.split()[1]), body, fields.get("connection", "") == "close"
