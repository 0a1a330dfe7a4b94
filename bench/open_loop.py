"""Load at a rate that does not wait for answers: latency from the time at which each request was meant to be sent.

Requests arrive as those of many independent users do (a Poisson process), always the same for the same seed. One that
comes while all connections wait for answers waits too, and that counts: nothing is left out because the server was slow
(coordinated omission, which wrk has). Prints a JSON object: the latencies, how late this client itself was, and how
much of a processor it took.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import ctypes
import json
import os
import random
import resource
import time
from collections import deque
from pathlib import Path
from typing import cast

import uvloop

CONNECTIONS_MOST = 512
AT_ONCE = 16
TIMER_ABSTIME = 1
PATIENCE_S = 5.0
LENGTH = b"content-length: "
OK, REFUSED = 200, (429, 503)


class Timer:
    """A clock that wakes the loop within microseconds; the timers of uvloop and asyncio count milliseconds.

    Attributes:
        number: of the file that can be read when the time has come.
    """

    def __init__(self) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self.number: int = self._libc.timerfd_create(time.CLOCK_MONOTONIC, os.O_NONBLOCK)

    def set(self, moment: float) -> None:
        """Wake at a time of `time.perf_counter`, which is the same clock; at once if it has passed."""
        seconds = int(moment)
        value = (ctypes.c_long * 4)(0, 0, seconds, max(1, int((moment - seconds) * 1e9)))
        self._libc.timerfd_settime(self.number, TIMER_ABSTIME, value, None)

    def clear(self) -> None:
        """Have no time that has come."""
        with contextlib.suppress(BlockingIOError):
            os.read(self.number, 8)


class Connection(asyncio.Protocol):
    """One connection, with one request on its way at the most."""

    def __init__(self, load: OpenLoad) -> None:
        self._load = load
        self._transport: asyncio.Transport
        self._meant = 0.0
        self._got = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Be of use."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is one in all but name
        self._load.free(self)

    def send(self, meant: float) -> None:
        """Send a request that was meant to be sent at some time."""
        self._meant = meant
        self._transport.write(self._load.request)

    def data_received(self, data: bytes) -> None:
        """Take a piece of an answer."""
        self._got = self._got + data if self._got else data
        head, found, body = self._got.partition(b"\r\n\r\n")
        if not found:
            return
        fields = head.lower()
        length = fields.find(LENGTH) + len(LENGTH)
        if len(body) < int(fields[length : length + 12].split(b"\r", 1)[0]):
            return
        self._got = b""
        meant, self._meant = self._meant, 0.0
        self._load.note(meant, int(head[9:12]))
        if b"\nconnection: close" in fields:
            self._transport.close()
        else:
            self._load.free(self)

    def connection_lost(self, error: Exception | None) -> None:
        """Count a request that has no answer."""
        if self._meant:
            self._load.note(self._meant, 0)
        self._load.lost(self)

    def close(self) -> None:
        """End it."""
        self._transport.close()


class OpenLoad:
    """The load.

    Args:
        port: where the server listens.
        request: the whole of it.
        times: when each is meant to be sent, in seconds from the start.

    Attributes:
        request: the whole of it.
        latencies: of the answers of 200, in seconds.
        late: how long after its time each request was written that found a free connection, in seconds.
        refusals: of the answers of 429 and 503, in seconds.
        errors: answers of another status than 200, and requests without one.
    """

    def __init__(self, port: int, request: bytes, times: list[float]) -> None:
        self.request = request
        self.latencies: list[float] = []
        self.refusals: list[float] = []
        self.late: list[float] = []
        self.errors = 0
        self._port = port
        self._times = times
        self._free: list[Connection] = []
        self._waiting: deque[float] = deque()
        self._open = 0
        self._next = 0
        self._start = 0.0
        self._timer = Timer()
        self._done = asyncio.Event()

    def free(self, connection: Connection) -> None:
        """Have a connection send what waits, or keep it."""
        if self._waiting:
            connection.send(self._waiting.popleft())
        else:
            self._free.append(connection)

    def lost(self, connection: Connection) -> None:
        """Forget a connection."""
        self._open -= 1
        if connection in self._free:
            self._free.remove(connection)
        if self._waiting:
            self._connect()

    def note(self, meant: float, status: int) -> None:
        """Take an answer, or the end of a connection without one, which has the status 0."""
        if status == OK:
            self.latencies.append(time.perf_counter() - meant)
        else:
            self.errors += 1
            if status in REFUSED:
                self.refusals.append(time.perf_counter() - meant)
        if len(self.latencies) + self.errors == len(self._times):
            self._done.set()

    def _connect(self) -> None:
        if self._open < CONNECTIONS_MOST:
            self._open += 1
            loop = asyncio.get_running_loop()
            task = loop.create_task(loop.create_connection(lambda: Connection(self), "127.0.0.1", self._port))
            task.add_done_callback(self._connected)

    def _connected(self, task: asyncio.Task[object]) -> None:
        if task.exception():
            self._open -= 1

    def _send(self, meant: float) -> None:
        if self._free:
            self.late.append(time.perf_counter() - meant)
            self._free.pop().send(meant)
        else:
            self._waiting.append(meant)
            self._connect()

    async def run(self, connections: int) -> None:
        """Send all, and wait for the answers, for some seconds at the most."""
        for _ in range(connections):
            self._connect()
        await asyncio.sleep(0.3)
        loop = asyncio.get_running_loop()
        self._done = asyncio.Event()
        self._start = time.perf_counter()
        loop.add_reader(self._timer.number, self._tick)
        self._timer.set(self._start + self._times[0])
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self._done.wait(), self._times[-1] + PATIENCE_S)
        loop.remove_reader(self._timer.number)
        self.errors = len(self._times) - len(self.latencies)
        for connection in list(self._free):
            connection.close()

    def _tick(self) -> None:
        """Send what is due, a few at a time, so that answers are taken also while requests are late."""
        self._timer.clear()
        now, last = time.perf_counter(), min(len(self._times), self._next + AT_ONCE)
        while self._next < last and self._start + self._times[self._next] <= now:
            self._send(self._start + self._times[self._next])
            self._next += 1
        if self._next < len(self._times):
            self._timer.set(self._start + self._times[self._next])


def arrivals(rate: float, seconds: float, seed: int) -> list[float]:
    """Return the times of a Poisson process."""
    source = random.Random(seed)  # noqa: S311 - data, not secrets
    times, now = [], source.expovariate(rate)
    while now < seconds:
        times.append(now)
        now += source.expovariate(rate)
    return times


def percentile_ms(values: list[float], share: float) -> float:
    """Return the value that a share of the sorted values has at the most, in ms."""
    return values[min(len(values) - 1, int(share * len(values)))] * 1e3 if values else 0.0


def main() -> None:
    """Load, and print what was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("port", type=int)
    parser.add_argument("path")
    parser.add_argument("body", type=Path, help="file with the body, JSON")
    parser.add_argument("--rate", type=float, required=True, help="requests a second")
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--connections", type=int, default=64, help="open at the start")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    body = options.body.read_bytes()
    head = f"POST {options.path} HTTP/1.1\r\nHost: 127.0.0.1:{options.port}\r\nContent-Type: application/json\r\n"
    request = head.encode() + b"Content-Length: %d\r\n\r\n" % len(body) + body
    load = OpenLoad(options.port, request, arrivals(options.rate, options.seconds, options.seed))
    began, used = time.perf_counter(), time.process_time()
    uvloop.run(load.run(options.connections))
    share = (time.process_time() - used) / (time.perf_counter() - began)
    latencies, refusals, late = sorted(load.latencies), sorted(load.refusals), sorted(load.late)
    found = {
        "requests_per_s": len(latencies) / options.seconds,
        "p50_ms": percentile_ms(latencies, 0.5),
        "p99_ms": percentile_ms(latencies, 0.99),
        "errors": load.errors,
        "refusals": len(refusals),
        "refusal_p99_ms": percentile_ms(refusals, 0.99),
        "refusal_most_ms": percentile_ms(refusals, 1.0),
        "client_share": share,
        "client_late_p99_ms": percentile_ms(late, 0.99),
    }
    print(json.dumps(found))


if __name__ == "__main__":
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    main()
