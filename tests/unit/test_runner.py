"""The queue between the I/O thread and the user's code: order, completions, streams, deadlines, the three runners."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import queue
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, cast

import pytest

from azmlinfsrv import capture
from azmlinfsrv.async_runner import AsyncRunner
from azmlinfsrv.completions import Completions
from azmlinfsrv.errors import StopServing
from azmlinfsrv.identity import NO_REQUEST
from azmlinfsrv.runner import (
    LONG_CALL_S,
    LONGEST_TURN_S,
    LOOKS,
    STREAM_LIMIT_BYTES,
    TURN,
    Runner,
    ThreadsRunner,
)
from azmlinfsrv.scorer import Scorer
from azmlinfsrv.script import Script
from tests.unit.http_fakes import logged
from tests.unit.stage import WAIT_S, Exchange, FakeScript, Io, Signal, Stage

CHUNK = b"x" * 32 * 1024


def no_drain() -> None:
    """Do nothing."""


Kind = Callable[..., Runner]
ONE: Kind = Runner
THREADS: Kind = lambda *args, threads=2: ThreadsRunner(*args, threads=threads)  # noqa: E731 - one of three kinds
ASYNC: Kind = lambda *args, limit=10: AsyncRunner(*args, limit=limit)  # noqa: E731 - one of three kinds
every_kind = pytest.mark.parametrize("kind", [ONE, THREADS, ASYNC], ids=["one", "threads", "async"])


@contextlib.contextmanager
def serving(
    run: Callable[..., Any],
    kind: Kind = ONE,
    timeout_ms: int = 60_000,
    write_timeout_ms: int = 60_000,
    drain: Callable[[], None] = no_drain,
    **options: int,
) -> Iterator[Stage]:
    """Serve a function in the block."""
    parse = lambda request: {"data": request.body.decode()}  # noqa: E731 - an argument
    scorer = Scorer(cast("Script", FakeScript(run)), parse, None)
    stage = Stage(kind(scorer, timeout_ms, write_timeout_ms, drain, **options))
    before = set(threading.enumerate())
    stage.thread.start()
    try:
        yield stage
    finally:
        stage.stop()
    for thread in set(threading.enumerate()) - before:
        thread.join(WAIT_S)
        assert not thread.is_alive()


# -- Completions -----------------------------------------------------------------------------------------------------


def test_completions_share_a_wake_up() -> None:
    """All calls that wait are made at one wake-up, in order, and the next call wakes again."""
    io, made = Io(), list[tuple[int, str]]()
    completions = Completions()
    completions.attach(io.call_soon)
    for number in range(5):
        completions.post(lambda *args: made.append(args), number, "x")
    assert (io.wakeups, made) == (1, [])
    io.until(lambda: bool(made))
    assert made == [(number, "x") for number in range(5)]
    completions.post(lambda *args: made.append(args), 5, "x")
    io.until(lambda: len(made) == 6)
    assert io.wakeups == 2


def test_jobs_of_one_turn_go_in_together() -> None:
    """What one turn of the I/O loop brought wakes the scoring thread once, in order."""
    seen: list[str] = []

    def run(data: str) -> str:
        seen.append(data)
        return data

    with serving(run) as stage:
        turns: list[Callable[[], None]] = []
        stage.runner.attach(turns.append, stage.io.call_soon)
        exchanges = [stage.submit(str(number)) for number in range(3)]
        assert len(turns) == 1
        assert seen == []
        turns.pop()()
        stage.wait(*exchanges)
        later = stage.submit("later")
        turns.pop()()
        stage.wait(later)
    assert seen == ["0", "1", "2", "later"]


def test_completions_wait_for_a_loop() -> None:
    """Nothing is delivered before there is a loop, and nothing of it is lost."""
    io, made = Io(), list[str]()
    completions = Completions()
    completions.post(made.append, "before")
    assert made == []
    completions.attach(io.call_soon)
    completions.post(made.append, "after")
    io.until(lambda: len(made) == 2)
    assert made == ["before", "after"]
    completions.attach(None)
    completions.post(made.append, "gone")
    assert io.wakeups == 1


def test_a_completion_may_post_another() -> None:
    """A call that is delivered may post one itself, which is delivered too."""
    io, made = Io(), list[str]()
    completions = Completions()
    completions.attach(io.call_soon)
    completions.post(lambda: completions.post(made.append, "second"))
    io.until(lambda: bool(made))


def test_a_completion_that_fails(caplog: pytest.LogCaptureFixture) -> None:
    """An answer that cannot be handed over does not hold back those behind it, and is logged."""
    io, made = Io(), list[str]()

    def broken() -> None:
        raise LookupError

    completions = Completions()
    completions.attach(io.call_soon)
    completions.post(broken)
    completions.post(made.append, "next")
    io.until(lambda: bool(made))
    assert "LookupError" in caplog.text


def test_completions_of_many_threads() -> None:
    """Every call of every thread is made exactly once, and those of one thread in their order."""
    io, made = Io(), list[tuple[int, int]]()
    completions = Completions()
    completions.attach(io.call_soon)

    def post(thread: int) -> None:
        for number in range(2000):
            completions.post(lambda *args: made.append(args), thread, number)

    threads = [threading.Thread(target=post, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    io.until(lambda: len(made) == 8000)
    for thread in threads:
        thread.join(WAIT_S)
    io.until_quiet()
    assert len(made) == 8000
    for thread_number in range(4):
        assert [number for thread, number in made if thread == thread_number] == list(range(2000))


# -- Requests --------------------------------------------------------------------------------------------------------


async def echo_async(data: str) -> str:
    """Send the body back."""
    await asyncio.sleep(0)
    return data


def echo(data: str) -> str:
    """Send the body back."""
    return data


def echo_of(kind: Kind) -> Callable[..., Any]:
    """Return the run() of a script for this kind of runner."""
    return echo_async if kind is ASYNC else echo


@every_kind
def test_every_request_gets_its_own_answer(kind: Kind) -> None:
    """Each request is answered once, with its own result, on the I/O thread."""
    with serving(echo_of(kind), kind) as stage:
        exchanges = {str(number): stage.submit(str(number)) for number in range(50)}
        stage.wait(*exchanges.values())
        stage.io.until_quiet()
    for name, exchange in exchanges.items():
        assert [response.body for response in exchange.responses] == [f'"{name}"'.encode()]
        assert exchange.threads == {threading.get_ident()}


def test_requests_are_scored_in_order_one_at_a_time() -> None:
    """The usual runner calls run() for one request after the other, in one thread, in the order of their coming."""
    order: list[str] = []
    threads: set[int] = set()
    busy = threading.Lock()

    def run(data: str) -> None:
        assert busy.acquire(blocking=False)
        order.append(data)
        threads.add(threading.get_ident())
        busy.release()

    with serving(run) as stage:
        exchanges = [stage.submit(str(number)) for number in range(100)]
        stage.wait(*exchanges)
        assert {exchange.status for exchange in exchanges} == {200}
        assert threads == {stage.thread.ident}
    assert order == [str(number) for number in range(100)]


def test_answers_that_are_ready_share_a_wake_up() -> None:
    """While the I/O thread is busy, any number of answers wakes it once."""
    with serving(echo) as stage:
        exchanges = [stage.submit(str(number)) for number in range(20)]
        stage.stop()
        assert stage.io.wakeups == 1
        stage.wait(*exchanges)
        assert stage.io.wakeups == 1


@every_kind
def test_how_many_are_pending(kind: Kind) -> None:
    """Requests count from their submission to the end of their answer."""
    with serving(echo_of(kind), kind) as stage:
        assert stage.runner.pending == 0
        exchanges = [stage.submit() for _ in range(3)]
        assert stage.runner.pending == 3
        stage.wait(*exchanges)
        assert stage.runner.pending == 0


@every_kind
def test_a_script_that_fails_does_not_stop_the_runner(kind: Kind) -> None:
    """A request whose run() raises gets 500, and the next one its result."""

    def run(data: str) -> str:
        if data == "bad":
            raise ValueError(data)
        return data

    async def run_async(data: str) -> str:
        return run(data)

    with serving(run_async if kind is ASYNC else run, kind) as stage:
        assert stage.ask("bad").status == 500
        assert stage.ask("good").responses[0].body == b'"good"'
        assert stage.runner.pending == 0


@every_kind
def test_run_knows_its_request(kind: Kind) -> None:
    """While run() works, its thread or task carries the request's id; what it leaves unfinished is drained after."""
    seen: list[str] = []

    def run(**_: str) -> None:
        seen.append(capture.current_request())

    async def run_async(**_: str) -> None:
        await asyncio.sleep(0)
        run()

    with serving(run_async if kind is ASYNC else run, kind, drain=lambda: seen.append("drain")) as stage:
        stage.ask("a")
        stage.ask("b")
    assert seen == ["id-a", "drain", "id-b", "drain"]
    assert capture.current_request() == NO_REQUEST


@every_kind
def test_a_stop_finishes_what_was_queued(kind: Kind) -> None:
    """Requests that were submitted before the stop are answered before `serve` returns."""
    with serving(echo_of(kind), kind) as stage:
        exchanges = [stage.submit(str(number)) for number in range(20)]
        if kind is ASYNC:
            stage.wait(exchanges[-1])
        stage.stop()
        stage.wait(*exchanges)
        assert stage.ended_by is None


@every_kind
def test_a_stop_that_comes_twice(kind: Kind) -> None:
    """Stopping what has stopped does nothing."""
    with serving(echo_of(kind), kind) as stage:
        stage.stop()
        stage.runner.stop()
        stage.runner.nudge()


@every_kind
def test_a_nudge_changes_nothing(kind: Kind) -> None:
    """A nudge is no request: it is not answered, and what comes after it is."""
    with serving(echo_of(kind), kind) as stage:
        stage.runner.nudge()
        assert stage.ask().status == 200
        assert stage.runner.pending == 0


@pytest.mark.parametrize("kind", [ONE, ASYNC], ids=["one", "async"])
def test_the_interrupt_of_a_stop_ends_the_runner(kind: Kind) -> None:
    """What stops the worker at once goes through run() and ends `serve`."""

    def run(**_: str) -> None:
        raise StopServing

    async def run_async(**_: str) -> None:
        raise StopServing

    with serving(run_async if kind is ASYNC else run, kind) as stage:
        stage.submit()
        stage.thread.join(WAIT_S)
        assert isinstance(stage.ended_by, StopServing)


# -- Streams ---------------------------------------------------------------------------------------------------------


class Source:
    """The generator of a script, of either kind, that the test holds in its hand.

    Attributes:
        made: how many items have been made.
        ended: how the generator ended: "ended", "closed" or "failed".
    """

    def __init__(self, items: Iterator[Any]) -> None:
        self._items = items
        self.made = 0
        self.ended = ""
        self.steps: dict[int, Signal] = {}

    def of(self, kind: Kind) -> Callable[..., Any]:
        """Return the run() for a kind of runner."""
        return self._run_async if kind is ASYNC else self._run

    def _run(self, data: str) -> Iterator[Any]:
        try:
            for item in self._items:
                if self.made in self.steps:
                    self.steps[self.made].wait()
                self.made += 1
                yield self._checked(item)
            self.ended = "ended"
        except GeneratorExit:
            self.ended = "closed"
            raise

    async def _run_async(self, data: str) -> AsyncIterator[Any]:
        try:
            for item in self._items:
                if self.made in self.steps:
                    await self.steps[self.made].wait_async()
                self.made += 1
                yield self._checked(item)
            self.ended = "ended"
        except GeneratorExit:
            self.ended = "closed"
            raise

    def _checked(self, item: Any) -> Any:
        if isinstance(item, BaseException):
            self.ended = "failed"
            raise item
        return item


@every_kind
def test_a_stream_is_sent_in_order(kind: Kind) -> None:
    """The head, the chunks one by one, and the end, on the I/O thread; the request is pending until then."""
    source = Source(iter(["a", b"b", {"c": 1}]))
    with serving(source.of(kind), kind) as stage:
        exchange = stage.submit()
        stage.wait(exchange)
        assert (exchange.status, exchange.ending) == (200, "end")
        assert exchange.chunks == [b"a", b"b", b'{"c":1}\n']
        assert exchange.threads == {threading.get_ident()}
        assert source.ended == "ended"
        assert stage.runner.pending == 0


@every_kind
def test_a_chunk_is_sent_as_soon_as_it_is_made(kind: Kind) -> None:
    """A chunk arrives while the generator still works on the next; the request is pending all the time."""
    source = Source(iter("abc"))
    source.steps = {1: Signal(), 2: Signal()}
    with serving(source.of(kind), kind) as stage:
        exchange = stage.submit()
        stage.io.until(lambda: len(exchange.chunks) == 1)
        assert (source.made, exchange.ending, stage.runner.pending) == (1, "", 1)
        source.steps[1].set()
        stage.io.until(lambda: len(exchange.chunks) == 2)
        assert (source.made, exchange.ending, stage.runner.pending) == (2, "", 1)
        source.steps[2].set()
        stage.wait(exchange)
        assert exchange.chunks == [b"a", b"b", b"c"]


@every_kind
def test_a_slow_client_holds_its_generator_back(kind: Kind) -> None:
    """A client that does not read gets no more than the limit made for it, and all of it once it reads."""
    source = Source(itertools.repeat(CHUNK, 50))
    most = STREAM_LIMIT_BYTES // len(CHUNK)
    with serving(source.of(kind), kind) as stage:
        exchange = stage.submit(reads=False)
        stage.io.until(lambda: len(exchange.chunks) >= most)
        stage.io.until_quiet()
        assert len(exchange.chunks) == most
        assert most <= source.made <= most + 1
        exchange.read()
        stage.wait(exchange)
        assert (len(exchange.chunks), exchange.ending) == (50, "end")


@every_kind
def test_a_client_that_leaves_closes_its_generator(kind: Kind) -> None:
    """When the client goes, the generator is closed and may clean up, and the next request is served."""
    source = Source(itertools.repeat(CHUNK))
    with serving(source.of(kind), kind) as stage:
        exchange = stage.submit(reads=False)
        stage.io.until(lambda: len(exchange.chunks) >= 3)
        exchange.leave()
        stage.wait(exchange)
        assert exchange.ending == "abort"
        assert stage.runner.pending == 0
        source._items = iter(["next"])
        assert stage.ask().chunks == [b"next"]
    assert source.ended == "ended"


@every_kind
@pytest.mark.parametrize("error", [TimeoutError("upstream"), SystemExit(1), asyncio.CancelledError("odd")])
def test_whatever_ends_a_stream_is_logged(kind: Kind, error: BaseException) -> None:
    """A stream that ends by a timeout, an exit or a cancellation of its own is broken off, and the log says why."""
    source = Source(iter(["a", "b", error]))
    with serving(source.of(kind), kind) as stage, logged("azmlinfsrv", logging.ERROR) as messages:
        exchange = stage.submit()
        stage.wait(exchange)
        assert (exchange.chunks, exchange.ending, stage.runner.pending) == ([b"a", b"b"], "abort", 0)
        source._items = iter(["next"])
        assert stage.ask().chunks == [b"next"]
    assert len(messages) == 1 and type(error).__name__ in messages[0]


def test_an_answer_that_comes_after_the_end_is_dropped() -> None:
    """A scoring thread that outlives the I/O loop fails nowhere."""

    def closed(_: object) -> None:
        raise RuntimeError("Event loop is closed")

    completions = Completions()
    completions.attach(closed)
    completions.post(print)


@every_kind
def test_the_generator_of_a_client_that_leaves_is_closed(kind: Kind) -> None:
    """The user's generator sees a GeneratorExit."""
    source = Source(itertools.repeat(CHUNK))
    with serving(source.of(kind), kind) as stage:
        exchange = stage.submit(reads=False)
        stage.io.until(lambda: bool(exchange.chunks))
        exchange.leave()
        stage.wait(exchange)
    assert source.ended == "closed"


@every_kind
def test_a_client_that_does_not_read_is_given_up(kind: Kind) -> None:
    """A client that accepts nothing for the write timeout is cut off, and its generator closed."""
    source = Source(itertools.repeat(CHUNK))
    with serving(source.of(kind), kind, write_timeout_ms=50) as stage:
        exchange = stage.submit(reads=False)
        stage.wait(exchange)
        assert exchange.ending == "abort"
    assert source.ended == "closed"


@every_kind
def test_a_generator_that_fails_breaks_the_stream_off(kind: Kind, caplog: pytest.LogCaptureFixture) -> None:
    """The client sees that the answer is not whole; the log has the traceback and the request id."""
    source = Source(iter(["a", ValueError("midway")]))
    with serving(source.of(kind), kind) as stage:
        exchange = stage.ask("x")
        assert (exchange.chunks, exchange.ending) == ([b"a"], "abort")
        assert stage.runner.pending == 0
    (line,) = [message for message in caplog.messages if "midway" in message]
    assert line.endswith("ValueError: midway\nRequest id: id-x")


@every_kind
def test_an_item_that_json_cannot_hold_breaks_the_stream_off(kind: Kind, caplog: pytest.LogCaptureFixture) -> None:
    """An item that cannot be encoded is like a generator that fails, and the generator is closed."""
    source = Source(iter([{}, {1}, {}]))
    with serving(source.of(kind), kind) as stage:
        exchange = stage.ask()
        assert (exchange.chunks, exchange.ending) == ([b"{}\n"], "abort")
    assert source.ended == "closed"
    assert "not JSON serializable" in caplog.text


@every_kind
def test_a_generator_that_fails_when_it_is_closed(kind: Kind) -> None:
    """A clean-up that raises costs nobody else anything."""

    def run(data: str) -> Iterator[Any]:
        try:
            yield from itertools.repeat(CHUNK) if data == "endless" else ["fine"]
        finally:
            if data == "endless":
                raise ValueError(data)

    async def run_async(data: str) -> AsyncIterator[Any]:
        try:
            for item in itertools.repeat(CHUNK) if data == "endless" else ["fine"]:
                yield item
        finally:
            if data == "endless":
                raise ValueError(data)

    with serving(run_async if kind is ASYNC else run, kind) as stage:
        exchange = stage.submit("endless", reads=False)
        stage.io.until(lambda: bool(exchange.chunks))
        exchange.leave()
        stage.wait(exchange)
        assert stage.ask("good").chunks == [b"fine"]
        assert stage.runner.pending == 0


def test_a_generator_of_an_async_script() -> None:
    """A plain generator that an `async def run()` returns is streamed beside the loop, with the request's id."""
    seen: list[str] = []

    def numbers() -> Iterator[str]:
        for number in range(3):
            seen.append(capture.current_request())
            yield str(number)

    async def run(**_: str) -> Iterator[str]:
        return numbers()

    with serving(run, ASYNC) as stage:
        assert stage.ask("x").chunks == [b"0", b"1", b"2"]
    assert seen == ["id-x"] * 3


def test_a_generator_of_an_async_script_does_not_hold_up_others() -> None:
    """While a plain generator works on its next item, other requests are scored."""
    go = Signal()

    def steps() -> Iterator[str]:
        yield "first"
        go.wait()
        yield "second"

    async def run(data: str) -> Any:
        if data == "stream":
            return steps()
        go.set()
        return data

    with serving(run, ASYNC) as stage:
        exchange = stage.submit("stream")
        stage.io.until(lambda: bool(exchange.chunks))
        assert stage.ask("other").status == 200
        stage.wait(exchange)
        assert exchange.chunks == [b"first", b"second"]


@pytest.mark.parametrize("kind", [ONE, THREADS], ids=["one", "threads"])
def test_a_stream_may_outlive_the_deadline(kind: Kind) -> None:
    """The deadline is that of each item: a stream goes on for longer, and waits for its client for longer, too."""
    source = Source(iter([CHUNK] * 20))
    with serving(source.of(kind), kind) as stage:
        exchange = stage.submit(reads=False)
        stage.io.until(lambda: len(exchange.chunks) * len(CHUNK) == STREAM_LIMIT_BYTES)
        stage.io.until_quiet()
        stage.runner.check_deadlines(time.perf_counter() + 1_000_000)
        exchange.read()
        stage.wait(exchange)
        assert (len(exchange.chunks), exchange.ending) == (20, "end")


@pytest.mark.parametrize("kind", [ONE, THREADS], ids=["one", "threads"])
def test_an_item_that_takes_too_long(kind: Kind) -> None:
    """A generator that computes on between two items is interrupted at its deadline, and its stream broken off."""
    entered, stop = threading.Event(), threading.Event()

    def run(data: str) -> Iterator[str]:
        yield data
        entered.set()
        spin_until(stop)

    with serving(run, kind, timeout_ms=20_000) as stage, logged("azmlinfsrv") as messages:
        exchange = stage.submit()
        assert entered.wait(WAIT_S)
        stage.runner.check_deadlines(time.perf_counter() + 20.05)
        stage.wait(exchange)
        assert (exchange.chunks, exchange.ending) == ([b"r"], "abort")
        assert [message.splitlines()[-1] for message in messages] == ["Request id: id-r"]


def test_the_interrupt_of_a_stop_ends_a_stream() -> None:
    """What stops the worker at once goes through a generator, too."""

    def run(data: str) -> Iterator[str]:
        yield data
        raise StopServing

    with serving(run) as stage:
        exchange = stage.submit()
        stage.join()
        stage.io.until(lambda: bool(exchange.chunks))
        assert isinstance(stage.ended_by, StopServing)


# -- Deadlines -------------------------------------------------------------------------------------------------------


def spin_until(stop: threading.Event) -> None:
    """Compute until told otherwise."""
    while not stop.is_set():
        pass


@pytest.mark.parametrize("kind", [ONE, THREADS], ids=["one", "threads"])
def test_a_call_that_takes_too_long(kind: Kind) -> None:
    """The I/O thread's check ends a call that is too late, and only that; the next one has its whole time."""
    started, stop = threading.Event(), threading.Event()

    def run(data: str) -> str:
        if data == "slow":
            started.set()
            spin_until(stop)
        return data

    with serving(run, kind, timeout_ms=20_000) as stage:
        exchange = stage.submit("slow")
        assert started.wait(WAIT_S)
        assert 0 < stage.runner.check_deadlines(time.perf_counter()) <= 20.0
        stage.runner.check_deadlines(time.perf_counter() + 21)
        stage.wait(exchange)
        assert exchange.status == 500
        assert b"Scoring timeout after 20000 ms" in exchange.responses[0].body
        assert stage.ask("quick").status == 200


def test_the_main_thread_is_interrupted_by_a_signal() -> None:
    """Served in the main thread, a call that blocks ends at its deadline."""
    scorer = Scorer(cast("Script", FakeScript(lambda data: time.sleep(WAIT_S))), lambda _: {"data": ""}, None)
    runner, exchange = Runner(scorer, 50, 1000), Exchange("r", True)
    answered = threading.Event()

    def io() -> None:
        while not answered.wait(min(runner.check_deadlines(time.perf_counter()), 0.01)):
            if exchange.answered:
                break
        runner.stop()

    runner.attach(lambda function: function(), lambda function: function())
    runner.submit(exchange.request, exchange.done)
    thread = threading.Thread(target=io)
    thread.start()
    started = time.monotonic()
    runner.serve()
    capture.enter_request(NO_REQUEST)
    thread.join(WAIT_S)
    assert exchange.status == 500
    assert time.monotonic() - started < WAIT_S / 2


def test_each_thread_has_a_deadline_of_its_own() -> None:
    """Of two calls at a time, the one that is too late ends, and the other does not."""
    began = {"old": threading.Event(), "new": threading.Event()}
    stop = threading.Event()

    def run(data: str) -> str:
        began[data].set()
        spin_until(stop)
        return data

    with serving(run, THREADS, timeout_ms=60_000, threads=2) as stage:
        old = stage.submit("old")
        assert began["old"].wait(WAIT_S)
        between = time.perf_counter()
        new = stage.submit("new")
        assert began["new"].wait(WAIT_S)
        stage.runner.check_deadlines(between + 60)
        stage.wait(old)
        assert (old.status, new.answered) == (500, False)
        stop.set()
        stage.wait(new)
        assert new.status == 200


@pytest.mark.parametrize("kind", [ONE, THREADS], ids=["one", "threads"])
def test_a_runner_that_is_idle_or_stopped(kind: Kind) -> None:
    """Without a call a check is due after the whole time, before the start and after the end too."""
    with serving(echo, kind, timeout_ms=7000) as stage:
        stage.ask()
        assert stage.runner.check_deadlines(time.perf_counter() + 1_000_000) == 7.0
    assert stage.runner.check_deadlines(time.perf_counter() + 1_000_000) == 7.0


class FakeLoop:
    """Keeps what it is asked to call later."""

    def __init__(self) -> None:
        self.later: list[tuple[float, Callable[..., None], tuple[Any, ...]]] = []

    def call_later(self, after_s: float, function: Callable[..., None], *arguments: Any) -> None:
        """Keep a call."""
        self.later.append((after_s, function, arguments))


@pytest.mark.parametrize(("timeout_ms", "after_s"), [(1500, 1.5), (3_600_000_000, 3600.0), (0, 3600.0)])
def test_watching_deadlines(timeout_ms: int, after_s: float) -> None:
    """Checks go on for ever, each when the one before it said, and at least every hour."""
    loop = FakeLoop()
    with serving(echo, timeout_ms=timeout_ms) as stage:
        stage.ask()
        stage.runner.watch_deadlines(cast("asyncio.AbstractEventLoop", loop))
        for _ in range(3):
            delay, function, arguments = loop.later.pop()
            assert (delay, loop.later) == (after_s, [])
            function(*arguments)


def test_an_async_call_that_takes_too_long() -> None:
    """An `async def run()` is cancelled at its deadline; others that run at the time are not."""
    cancelled: list[str] = []

    async def run(data: str) -> str:
        if data == "slow":
            try:
                await asyncio.sleep(WAIT_S)
            except asyncio.CancelledError:
                cancelled.append(data)
                raise
        return data

    with serving(run, ASYNC, timeout_ms=50) as stage:
        slow, quick = stage.submit("slow"), stage.submit("quick")
        stage.wait(slow, quick)
        assert (slow.status, quick.status) == (500, 200)
        assert b"Scoring timeout after 50 ms" in slow.responses[0].body
        assert stage.runner.pending == 0
    assert cancelled == ["slow"]


# -- Threads ---------------------------------------------------------------------------------------------------------


def test_threads_score_at_the_same_time() -> None:
    """As many calls as there are threads run at a time, and no more; none of them in the thread that serves."""
    meeting = threading.Barrier(3)
    lock, running, most = threading.Lock(), 0, 0
    threads: set[int | None] = set()

    def run(**_: str) -> None:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
            threads.add(threading.get_ident())
        meeting.wait(WAIT_S)
        with lock:
            running -= 1

    with serving(run, THREADS, threads=3) as stage:
        exchanges = [stage.submit(str(number)) for number in range(9)]
        stage.wait(*exchanges)
        assert stage.thread.ident not in threads
    assert {exchange.status for exchange in exchanges} == {200}
    assert (most, len(threads)) == (3, 3)


def test_threads_keep_their_requests_apart() -> None:
    """Each of the calls that run at a time carries the id of its own request."""
    meeting = threading.Barrier(2)

    def run(**_: str) -> str:
        meeting.wait(WAIT_S)
        return capture.current_request()

    with serving(run, THREADS, threads=2) as stage:
        exchanges = [stage.submit(name) for name in "ab"]
        stage.wait(*exchanges)
    assert [exchange.responses[0].body for exchange in exchanges] == [b'"id-a"', b'"id-b"']


# -- asyncio ---------------------------------------------------------------------------------------------------------


def test_async_calls_run_at_the_same_time_up_to_a_limit() -> None:
    """As many calls as the limit run at a time, the others start in their order as those end."""
    go = {name: Signal() for name in "abcde"}
    order: list[str] = []
    running: set[str] = set()
    most = 0

    async def run(data: str) -> None:
        nonlocal most
        order.append(data)
        running.add(data)
        most = max(most, len(running))
        await go[data].wait_async()
        running.discard(data)

    with serving(run, ASYNC, limit=2) as stage:
        exchanges = {name: stage.submit(name) for name in "abcde"}
        for name in "badce":
            go[name].set()
            if name != "d":
                stage.wait(exchanges[name])
        stage.wait(*exchanges.values())
        assert {exchange.status for exchange in exchanges.values()} == {200}
    assert (order, most) == (list("abcde"), 2)


def test_async_calls_share_a_loop() -> None:
    """All calls run in the loop of the thread that serves, so that what init() or a call makes can be shared."""
    seen: list[tuple[int | None, asyncio.AbstractEventLoop]] = []

    async def run(**_: str) -> None:
        seen.append((threading.get_ident(), asyncio.get_running_loop()))

    with serving(run, ASYNC) as stage:
        stage.ask()
        stage.ask()
        assert seen[0] == seen[1]
        assert seen[0][0] == stage.thread.ident
    assert seen[0][1].is_closed()


def test_a_stop_waits_for_async_calls() -> None:
    """Calls that run at the stop are answered first."""
    go, began = Signal(), threading.Event()

    async def run(data: str) -> str:
        began.set()
        await go.wait_async()
        return data

    with serving(run, ASYNC) as stage:
        exchange = stage.submit()
        assert began.wait(WAIT_S)
        stage.runner.stop()
        go.set()
        stage.join()
        stage.wait(exchange)
        assert exchange.status == 200


def test_async_calls_that_wait_are_answered_at_a_stop() -> None:
    """Requests beyond the limit that were accepted before the stop are answered as well."""
    go, began = Signal(), threading.Event()

    async def run(data: str) -> str:
        began.set()
        await go.wait_async()
        return data

    with serving(run, ASYNC, limit=1) as stage:
        exchanges = [stage.submit(str(number)) for number in range(3)]
        assert began.wait(WAIT_S)
        stage.runner.stop()
        go.set()
        stage.join()
        stage.wait(*exchanges)


@pytest.mark.parametrize("error", [asyncio.CancelledError(), SystemExit(1)])
def test_an_async_call_that_ends_oddly_is_answered(error: BaseException) -> None:
    """A run() that exits or is cancelled by its own doing gets its client a 500, and the loop goes on."""

    async def run(data: str) -> str:
        if data == "odd":
            raise error
        return data

    with serving(run, ASYNC) as stage:
        exchange = stage.submit("odd")
        with contextlib.suppress(queue.Empty):
            stage.io.until(lambda: exchange.answered, wait_s=2)
        assert exchange.responses, f"never answered; the runner ended by {stage.ended_by!r}"
        assert exchange.status == 500
        assert stage.ask("good").status == 200
        assert stage.runner.pending == 0


def test_the_log_is_quiet_of_good_requests(caplog: pytest.LogCaptureFixture) -> None:
    """Requests that succeed leave nothing in the log at this level."""
    caplog.set_level(logging.INFO)
    with serving(echo) as stage:
        stage.ask()
    assert caplog.messages == []


def test_after_a_request_that_came_alone_it_looks_for_a_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    """The scoring thread looks for the next request a few times, then sleeps; after several it sleeps at once."""
    looks: list[float] = []
    sleeping = Signal()
    real = time.sleep

    def look(seconds: float) -> None:
        real(seconds)
        if threading.current_thread() is stage.thread:
            looks.append(seconds)
            if len(looks) == LOOKS:
                sleeping.set()

    monkeypatch.setattr("azmlinfsrv.runner.time.sleep", look)
    with serving(lambda data: data) as stage:
        assert stage.ask("alone").status == 200
        sleeping.wait()
        assert looks == [0] * LOOKS
        together = stage.submit_together("a", "b", "c")
        stage.wait(*together)
        stage.io.until_quiet()
        assert looks == [0] * LOOKS


def test_without_looking_it_sleeps_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where other threads of the process need the turns, the scoring thread does not look."""
    looks: list[float] = []
    monkeypatch.setattr("azmlinfsrv.runner.time.sleep", looks.append)
    with serving(lambda data: data) as stage:
        stage.runner.looks = 0
        for _ in range(3):
            assert stage.ask("alone").status == 200
    assert not looks


def test_after_a_long_call_the_io_thread_may_have_its_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where both are in each other's way, and others wait, the scoring thread sleeps for a small part of the call."""
    turns: list[float] = []
    monkeypatch.setattr("azmlinfsrv.runner.time.sleep", turns.append)

    def run(data: str) -> str:
        spin(LONG_CALL_S * 1.5 if data == "long" else 0.0)
        return data

    with serving(run) as stage:
        stage.runner.looks = 0
        stage.wait(*stage.submit_together("long", "long"))
        assert not turns, "nobody is in the way"
        stage.runner.gives_turns = True
        stage.wait(*stage.submit_together("quick", "quick"))
        assert stage.ask("long").status == 200
        assert not turns, "a quick call, and one behind which nobody waits"
        stage.wait(*stage.submit_together("long", "long"))
        assert len(turns) == 1 and LONG_CALL_S * TURN <= turns[0] <= LONGEST_TURN_S


def test_what_is_done_before_run() -> None:
    """The I/O thread is told before it hands requests over, unless others are being scored."""
    entered, go, calls = Signal(), Signal(), list[list[str]]()
    seen: list[str] = []

    def run(data: str) -> str:
        seen.append(data)
        if data == "long":
            entered.set()
            go.wait()
        return data

    with serving(run) as stage:
        stage.runner.before_run = lambda: calls.append(seen[:])
        first = stage.submit("long")
        entered.wait()
        others = stage.submit_together("b", "c")
        go.set()
        stage.wait(first, *others)
        assert calls == [[]]
        stage.ask("d")
        assert calls == [[], ["long", "b", "c"]]


def spin(seconds: float) -> None:
    """Compute for a while."""
    until = time.perf_counter() + seconds
    while time.perf_counter() < until:
        pass
