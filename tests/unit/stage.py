"""A runner in a thread of its own, with the test as its I/O thread."""

from __future__ import annotations

import asyncio
import contextlib
import queue
import threading
import time
from collections.abc import Callable
from typing import Any

from azmlinfsrv.identity import RequestIds
from azmlinfsrv.messages import Gate, Request, Response
from azmlinfsrv.runner import Runner
from azmlinfsrv.script import Script, Style

WAIT_S = 10.0
QUIET_S = 0.1


class FakeScript(Script):
    """What the scorer wants to know of a script."""

    def __init__(self, run: Callable[..., Any]) -> None:
        self.run = run
        self.style = Style.JSON_TEXT
        self.typed = None


class Io:
    """The I/O loop of a test: it does what it is asked to when the test says so.

    Attributes:
        wakeups: how often it was woken.
    """

    def __init__(self) -> None:
        self.wakeups = 0
        self._calls: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()

    def call_soon(self, function: Callable[[], None]) -> None:
        """Stand in for `call_soon_threadsafe`."""
        self.wakeups += 1
        self._calls.put(function)

    def until(self, condition: Callable[[], bool], wait_s: float = WAIT_S) -> None:
        """Work until something is so."""
        until = time.monotonic() + wait_s
        while not condition():
            self._calls.get(timeout=max(0, until - time.monotonic()))()

    def work(self) -> None:
        """Do what there is to do now."""
        with contextlib.suppress(queue.Empty):
            while True:
                self._calls.get_nowait()()

    def until_quiet(self) -> None:
        """Work until there has been nothing to do for a while."""
        with contextlib.suppress(queue.Empty):
            while True:
                self._calls.get(timeout=QUIET_S)()


class Exchange:
    """A request and what becomes of it: a `Reply`.

    Attributes:
        responses: what `done` got.
        chunks: chunks that were written.
        ending: "end" or "abort", once it is there.
        reads: whether the client accepts chunks at once.
        threads: threads on which it was called.
    """

    def __init__(self, name: str, reads: bool) -> None:
        self.request = Request("POST", b"/score", "/score", b"", {}, name.encode(), "1.1", ("", 0), time.perf_counter())
        self.request.ids = RequestIds(f"id-{name}", f"id-{name}", "")
        self.request.reply = self
        self.responses: list[Response] = []
        self.chunks: list[bytes] = []
        self.ending = ""
        self.reads = reads
        self.threads: set[int] = set()
        self._unread: list[tuple[Gate, int]] = []
        self._gate: Gate | None = None

    def send(self, response: Response) -> None:
        """See `Reply.send`."""
        raise AssertionError(response)

    def done(self, request: Request, response: Response) -> None:
        """Take the response."""
        assert request is self.request
        self.threads.add(threading.get_ident())
        self.responses.append(response)

    def write(self, chunk: bytes, gate: Gate) -> None:
        """See `Reply.write`."""
        assert self.responses and not self.ending
        self.threads.add(threading.get_ident())
        self._gate = gate
        self.chunks.append(chunk)
        self._unread.append((gate, len(chunk)))
        if self.reads:
            self.read()

    def end(self) -> None:
        """See `Reply.end`."""
        assert not self.ending
        self.ending = "end"

    def abort(self) -> None:
        """See `Reply.abort`."""
        assert not self.ending
        self.ending = "abort"

    def read(self) -> None:
        """Accept what has been written, and what will be."""
        self.reads = True
        for gate, count in self._unread:
            gate.release(count)
        self._unread.clear()

    def leave(self) -> None:
        """Close the connection."""
        assert self._gate is not None
        self._gate.close()

    @property
    def answered(self) -> bool:
        """Whether the answer is complete."""
        return bool(self.responses) and (self.responses[0].stream is None or bool(self.ending))

    @property
    def status(self) -> int:
        """Status of the one response."""
        (response,) = self.responses
        return response.status


class Timer:
    """What `call_later` returns."""

    def __init__(self, later: list[tuple[float, Callable[[], None]]], entry: tuple[float, Callable[[], None]]) -> None:
        self.entry = entry
        self._later = later

    def cancel(self) -> None:
        """Do not make the call."""
        if self.entry in self._later:
            self._later.remove(self.entry)


class Stage:
    """A runner that serves in a thread of its own, with the test as its I/O thread.

    Attributes:
        later: what the runner wants to be called later, which the test does: the delay in seconds, and the function.
    """

    def __init__(self, runner: Runner) -> None:
        self.runner = runner
        self.later: list[tuple[float, Callable[[], None]]] = []
        self.io = Io()
        self.thread = threading.Thread(target=self._serve, name="serve")
        self.ended_by: BaseException | None = None
        runner.attach(lambda function: function(), self.io.call_soon, self._call_later)

    def _call_later(self, delay_s: float, function: Callable[[], None]) -> Timer:
        timer = Timer(self.later, (delay_s, function))
        self.later.append(timer.entry)
        return timer

    def pass_time(self) -> None:
        """Make the calls that are due later."""
        due, self.later[:] = list(self.later), []
        for _, function in due:
            function()

    def _serve(self) -> None:
        try:
            self.runner.serve()
        except BaseException as error:  # noqa: BLE001 - for the test to look at
            self.ended_by = error

    def submit(self, name: str = "r", reads: bool = True, age_s: float = 0.0, **headers: str) -> Exchange:
        """Submit a request whose body is its name, and that arrived a while ago."""
        exchange = Exchange(name, reads)
        exchange.request.received -= age_s
        for key, value in headers.items():
            exchange.request.headers[key.replace("_", "-").encode()] = value.encode()
        self.runner.submit(exchange.request, exchange.done)
        return exchange

    def submit_together(self, *names: str) -> list[Exchange]:
        """Submit requests that one turn of the I/O loop brought."""
        turns: list[Callable[[], None]] = []
        self.runner.attach(turns.append, self.io.call_soon)
        exchanges = [self.submit(name) for name in names]
        self.runner.attach(lambda function: function(), self.io.call_soon)
        turns.pop()()
        return exchanges

    def ask(self, name: str = "r") -> Exchange:
        """Submit a request and wait for its answer."""
        exchange = self.submit(name)
        self.wait(exchange)
        return exchange

    def wait(self, *exchanges: Exchange) -> None:
        """Wait for the ends of answers."""
        self.io.until(lambda: all(exchange.answered for exchange in exchanges))

    def stop(self) -> None:
        """Stop the runner and wait for its end."""
        self.runner.stop()
        self.join()

    def join(self) -> None:
        """Wait for the end of `serve`."""
        if self.thread.ident is not None:
            self.thread.join(WAIT_S)
            assert not self.thread.is_alive()


class Signal:
    """An event that threads and coroutines wait for, and any thread sets."""

    def __init__(self) -> None:
        self._event = threading.Event()

    def set(self) -> None:
        """Let all go on that wait."""
        self._event.set()

    def wait(self) -> None:
        """Wait in a thread."""
        assert self._event.wait(WAIT_S)

    async def wait_async(self) -> None:
        """Wait in a coroutine."""
        until = time.monotonic() + WAIT_S
        while not self._event.is_set():
            assert time.monotonic() < until
            await asyncio.sleep(0.001)
