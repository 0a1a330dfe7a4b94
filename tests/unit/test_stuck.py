"""Calls of `run()` that do not come back: their answers, exactly once, and what becomes of the requests behind them."""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from types import CodeType, ModuleType
from typing import Any

import pytest

from azmlinfsrv import batched
from azmlinfsrv import deadline as deadline_module
from azmlinfsrv.deadline import GIVE_UP_S, LateCall
from azmlinfsrv.errors import RunTimeoutError
from azmlinfsrv.messages import Response
from azmlinfsrv.script import Script
from azmlinfsrv.settings import Settings
from azmlinfsrv.strategy import batch_limits, make_runner
from azmlinfsrv.stuck_watch import StuckWatch
from tests.telemetry.ingestion import wait_until
from tests.unit.http_fakes import logged
from tests.unit.stage import Exchange, Signal, Stage

TIMEOUT_MS = 20_000
TIMEOUT_BODY = b'{"message":"Scoring timeout after 20000 ms"}'


class Stuck:
    """What `run()` does: it is stuck for a request "stuck", as native code is, and echoes others.

    Attributes:
        entered: set once it is stuck.
        go: lets it come back.
        ended: how many calls have come back.
    """

    def __init__(self) -> None:
        self.entered, self.go = Signal(), Signal()
        self.ended = 0

    def work(self, data: str) -> str:
        """Be stuck, or not."""
        if data == "stuck":
            self.entered.set()
            self.go.wait()
        self.ended += 1
        return data

    def run(self, data: str) -> str:
        """Stand in for a plain ``run()``."""
        return self.work(data)

    async def run_async(self, data: str) -> str:
        """Stand in for a coroutine that blocks its loop."""
        return self.work(data)

    def run_batch(self, data):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201 - as users write it
        """Stand in for a ``run()`` of batches."""
        return [self.work(each) for each in data]

    def run_stream(self, data: str) -> Iterator[str]:
        """Stand in for a generator, which is stuck between its chunks."""
        yield "first"
        yield self.work(data)

    async def run_async_stream(self, data: str) -> AsyncIterator[str]:
        """Stand in for an asynchronous generator."""
        yield "first"
        yield self.work(data)

    async def run_stream_of_coroutine(self, data: str) -> Iterator[str]:
        """Stand in for a coroutine that returns a generator, whose items are made in a thread."""
        return self.run_stream(data)


@pytest.fixture
def stuck() -> Iterator[Stuck]:
    """A script; what is stuck comes back at the end."""
    made = Stuck()
    yield made
    made.go.set()


@contextlib.contextmanager
def serving(run: Callable[..., Any], **settings: Any) -> Iterator[Stage]:
    """Serve a function in the block."""
    module = ModuleType("score")
    module.run, module.init, module.__file__ = run, lambda: None, "score.py"  # type: ignore[attr-defined]  # a script
    script, chosen = Script(module), Settings(scoring_timeout_ms=TIMEOUT_MS, **settings)
    stage = Stage(make_runner(script, chosen, lambda: None, None, batch_limits(script, chosen)))
    stage.thread.start()
    try:
        yield stage
    finally:
        stage.stop()


def way(name: str, **settings: Any) -> Any:
    """Return a way to call the script."""
    return pytest.param(name, settings, id=" ".join([name, *settings]))


ways = pytest.mark.parametrize(
    ("name", "settings"),
    [
        way("run"),
        way("run", worker_threads=2),
        way("run_async"),
        way("run_batch", max_batch_size=8),
        way("run_batch", max_batch_size=8, worker_threads=2),
    ],
)
streams = pytest.mark.parametrize(
    ("name", "settings"),
    [
        way("run_stream"),
        way("run_stream", worker_threads=2),
        way("run_async_stream"),
        way("run_stream_of_coroutine"),
    ],
)


def give_up(stage: Stage) -> float:
    """Check the deadlines when they have long passed, and return that time."""
    now = time.perf_counter() + TIMEOUT_MS / 1000 + 2 * GIVE_UP_S
    stage.runner.check_deadlines(now)
    return now


# -- Answers ---------------------------------------------------------------------------------------------------------


@ways
def test_a_stuck_call_is_answered_at_its_deadline(stuck: Stuck, name: str, settings: dict[str, Any]) -> None:
    """The I/O thread answers for a call that does not end; what it returns later is dropped, and the next is served."""
    with serving(getattr(stuck, name), **settings) as stage:
        exchange = stage.submit("stuck")
        stuck.entered.wait()
        give_up(stage)
        assert (exchange.status, exchange.responses[0].body) == (500, TIMEOUT_BODY)
        assert stage.runner.pending == 0
        stuck.go.set()
        assert stage.ask("other").status == 200
        stage.io.until_quiet()
        assert len(exchange.responses) == 1
        assert stage.runner.pending == 0


@ways
def test_a_call_is_not_given_up_before_its_time(stuck: Stuck, name: str, settings: dict[str, Any]) -> None:
    """Until its deadline, and for a moment after it, a call may end by itself or by the interrupt."""
    with serving(getattr(stuck, name), **settings) as stage:
        began = time.perf_counter()
        exchange = stage.submit("stuck")
        stuck.entered.wait()
        after_s = stage.runner.check_deadlines(began + TIMEOUT_MS / 1000 - 1)
        assert 0 < after_s <= TIMEOUT_MS / 1000 + GIVE_UP_S
        assert not exchange.responses
        assert stage.runner.late_calls(began) == []
        stuck.go.set()
        stage.wait(exchange)
        assert exchange.status == 200


def test_the_answer_is_that_of_an_interrupted_call(stuck: Stuck) -> None:
    """Status, header fields, body and log line of a call that was given up are those of one that was interrupted."""

    def run(data: str) -> str:
        if data == "stuck":
            return stuck.run(data)
        stuck.entered.set()
        while True:
            pass

    answers: list[Response] = []
    lines: list[str] = []
    with serving(run) as stage, logged("azmlinfsrv") as messages:
        for name in ("spin", "stuck"):
            stuck.entered = Signal()
            exchange = stage.submit(name)
            stuck.entered.wait()
            now = time.perf_counter() + TIMEOUT_MS / 1000
            stage.runner.check_deadlines(now)
            if name == "stuck":
                stage.runner.check_deadlines(now + GIVE_UP_S)
            stage.wait(exchange)
            answers.append(exchange.responses[0])
            (line,) = [message for message in messages if name in message.splitlines()[-1]]
            lines.append(line)
        stuck.go.set()
        stage.ask("stuck")
        assert len([message for message in messages if "Script failed to finish" in message]) == 2
    interrupted, given_up = answers
    assert (given_up.status, given_up.body, given_up.headers) == (500, interrupted.body, interrupted.headers)
    assert [line.splitlines()[0] for line in lines] == [
        "Encountered Exception: Script failed to finish execution within the allocated time: 20000ms"
    ] * 2
    for line in lines:
        assert f'File "{__file__}"' in line.splitlines()[1] and "in run" in line.splitlines()[1]
    assert "self.go.wait()" in lines[1] and "azmlinfsrv" + "/deadline" not in lines[1]


def test_all_members_of_a_batch_are_answered(stuck: Stuck) -> None:
    """Each request of a batch that is stuck has its answer, and each is logged with its id."""
    with serving(stuck.run_batch, max_batch_size=8) as stage, logged("azmlinfsrv") as messages:
        exchanges = stage.submit_together("stuck", "b", "c")
        stuck.entered.wait()
        give_up(stage)
        assert [(each.status, each.responses[0].body) for each in exchanges] == [(500, TIMEOUT_BODY)] * 3
        assert [each.request.run_s > 0 for each in exchanges] == [True, False, False]
        ids = [message.splitlines()[-1] for message in messages if "Script failed" in message]
        assert ids == [f"Request id: id-{name}" for name in ("stuck", "b", "c")]
        stuck.go.set()
        assert stage.ask("later").status == 200


def test_a_member_that_is_scored_again_is_given_up_alone(stuck: Stuck) -> None:
    """Where a batch raised and its requests are scored one by one, those before and after the stuck one have theirs."""

    @batched(max_batch_size=8)
    def run(data):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202 - as users write it
        if len(data) > 1:
            raise ValueError
        return [stuck.work(each) for each in data]

    with serving(run) as stage:
        exchanges = stage.submit_together("a", "stuck", "c")
        stuck.entered.wait()
        stage.io.until(lambda: bool(exchanges[0].responses))
        give_up(stage)
        assert [len(each.responses) for each in exchanges] == [1, 1, 0]
        stuck.go.set()
        stage.wait(*exchanges)
        stage.io.until_quiet()
        assert [each.status for each in exchanges] == [200, 500, 200]


@streams
def test_a_stuck_stream_is_broken_off(stuck: Stuck, name: str, settings: dict[str, Any]) -> None:
    """A generator stuck between its chunks has its stream broken off, once; what it makes later goes nowhere."""
    with serving(getattr(stuck, name), **settings) as stage, logged("azmlinfsrv") as messages:
        exchange = stage.submit("stuck")
        stuck.entered.wait()
        stage.io.until(lambda: bool(exchange.chunks))
        give_up(stage)
        assert (exchange.status, exchange.chunks, exchange.ending) == (200, [b"first"], "abort")
        assert stage.runner.pending == 0
        assert any("Script failed to finish" in message and "id-stuck" in message for message in messages)
        stuck.go.set()
        other = stage.ask("other")
        stage.io.until_quiet()
        assert other.chunks == [b"first", b"other"]
        assert exchange.chunks == [b"first"]


@pytest.mark.parametrize(("name", "settings"), [way("sync"), way("sync", worker_threads=2), way("async")])
def test_a_stream_that_is_late_with_its_head(stuck: Stuck, name: str, settings: dict[str, Any]) -> None:
    """A stream whose request was answered before its first item was there is dropped as a whole."""

    def stuck_first(data: str) -> Iterator[str]:
        yield stuck.work(data)
        yield "second"

    async def stuck_first_async(data: str) -> AsyncIterator[str]:
        yield stuck.work(data)
        yield "second"

    with serving(stuck_first_async if name == "async" else stuck_first, **settings) as stage:
        exchange = stage.submit("stuck")
        stuck.entered.wait()
        give_up(stage)
        assert exchange.status == 500
        stuck.go.set()
        other = stage.ask("other")
        stage.io.until_quiet()
        assert other.chunks == [b"other", b"second"]
        assert (len(exchange.responses), exchange.chunks, exchange.ending) == (1, [], "")


def without_lines(code: CodeType) -> CodeType:
    """Return code whose instructions have no line numbers, as some have that compilers and generators make."""
    units = len(code.co_code) // 2
    if sys.version_info < (3, 11):
        return code.replace(co_linetable=bytes([2 * units, 0x80]))
    entries = [min(8, units - at) for at in range(0, units, 8)]
    return code.replace(co_linetable=bytes(0xF8 | (length - 1) for length in entries))


def test_stuck_where_there_is_no_line(stuck: Stuck) -> None:
    """Code without line numbers is answered for, too; the log has the line where its function begins."""

    def generated(data: str) -> str:
        return stuck.work(data)

    generated.__code__ = without_lines(generated.__code__)
    with logged("azmlinfsrv") as messages, serving(generated) as stage:
        exchange = stage.submit("stuck")
        stuck.entered.wait()
        give_up(stage)
        assert (exchange.status, exchange.responses[0].body) == (500, TIMEOUT_BODY)
        assert any(f"line {generated.__code__.co_firstlineno}, in generated" in message for message in messages)
        stuck.go.set()
        stage.io.until_quiet()


@pytest.mark.parametrize("threads", [1, 2])
def test_never_two_answers(monkeypatch: pytest.MonkeyPatch, threads: int) -> None:
    """Calls that come back just when they are given up are answered once, and every request is."""
    monkeypatch.setattr(deadline_module, "GIVE_UP_S", 0.0)
    lengths = iter([0.0, 0.001, 0.0015, 0.002, 0.0025] * 1000)

    def run(data: str) -> str:
        until = time.perf_counter() + next(lengths)
        while time.perf_counter() < until:
            pass
        return data

    interval = sys.getswitchinterval()
    with serving(run, worker_threads=threads) as stage:
        sys.setswitchinterval(1e-5)
        exchanges: list[Exchange] = []
        until = time.monotonic() + 1.0
        ahead_s = TIMEOUT_MS / 1000 - 0.002
        while time.monotonic() < until:
            exchange = stage.submit(str(len(exchanges)))
            exchanges.append(exchange)
            while not exchange.responses:
                stage.runner.check_deadlines(time.perf_counter() + ahead_s)
                stage.io.work()
        sys.setswitchinterval(interval)
        stage.io.until_quiet()
        assert {len(each.responses) for each in exchanges} == {1}
        assert {each.status for each in exchanges} == {200, 500}
        assert stage.runner.pending == 0


# -- What is late, and who waits -------------------------------------------------------------------------------------


@ways
def test_late_calls(stuck: Stuck, name: str, settings: dict[str, Any]) -> None:
    """A call that was given up is late until it comes back."""
    with serving(getattr(stuck, name), **settings) as stage:
        exchange = stage.submit("stuck")
        stuck.entered.wait()
        given_up = give_up(stage)
        (late,) = stage.runner.late_calls(given_up + 2)
        assert late.late_s == pytest.approx(2)
        assert late.requests == (exchange.request,)
        assert late.thread in {thread.ident for thread in threading.enumerate()}
        assert late.blocks_all == (name == "run_async")
        stuck.go.set()
        wait_until(lambda: not stage.runner.late_calls(given_up + 2))


@ways
def test_refusals(stuck: Stuck, name: str, settings: dict[str, Any]) -> None:
    """Requests behind a stuck call, in the queue or taken from it, and those that come, get the refusal."""
    with serving(getattr(stuck, name), **settings) as stage:
        first = stage.submit("stuck")
        stuck.entered.wait()
        taken = [stage.submit("stuck") for _ in range(settings.get("worker_threads", 1) - 1)]
        waiting = [stage.submit(str(number)) for number in range(3)]
        give_up(stage)
        stage.runner.refuse(lambda: Response(503))
        later = stage.submit("later")
        assert first.status == 500
        assert {each.status for each in [*waiting, later]} <= {200, 500, 503}  # some may be in the batch that is stuck
        assert later.status == 503
        stuck.go.set()
        stage.io.until_quiet()
        assert {len(each.responses) for each in [first, *taken, *waiting, later]} == {1}
        assert stage.runner.pending == 0


def test_a_batch_is_refused_where_one_holds_up_the_turn(stuck: Stuck) -> None:
    """A conversion that is stuck holds up all threads that gather batches: it blocks them all."""
    with serving(stuck.run_batch, max_batch_size=8, worker_threads=2) as stage:
        runner = stage.runner
        real = runner._batches.admit  # type: ignore[attr-defined]  # a batch runner's

        def admit(request: Any, done: Any, call: Callable[..., Any]) -> Any:
            with contextlib.suppress(RunTimeoutError):
                call(stuck.work, {"data": request.body.decode()})
            return real(request, done, call)

        runner._batches.admit = admit  # type: ignore[attr-defined]  # the same
        first = stage.submit("stuck")
        stuck.entered.wait()
        second = stage.submit("second")
        now = give_up(stage)
        assert [late.blocks_all for late in runner.late_calls(now)] == [True]
        runner.refuse(lambda: Response(503))
        assert (first.status, second.status) == (500, 503)
        stuck.go.set()


# -- The watch -------------------------------------------------------------------------------------------------------


class FakeRunner:
    """A runner whose late calls are the test's."""

    def __init__(self, slots: int = 1) -> None:
        self.slots = slots
        self.pending = 0
        self.late: list[LateCall] = []

    def late_calls(self, now: float) -> list[LateCall]:
        """Return what the test says."""
        return self.late


class Watched:
    """A watch of three seconds and what it does."""

    def __init__(self, slots: int = 1, grace_ms: int = 3000) -> None:
        self.runner = FakeRunner(slots)
        self.replaced = 0
        self.watch = StuckWatch(self.runner, grace_ms, self._replace)

    def _replace(self) -> None:
        self.replaced += 1

    def check(self, *late: LateCall, pending: int = 0) -> int:
        """Check while these are late, and return how often the worker was replaced."""
        self.runner.late, self.runner.pending = [*late], pending
        self.watch.check(0.0)
        return self.replaced


def late(late_s: float, number: int = 1, *, blocks_all: bool = False, thread: int = 0) -> LateCall:
    """Return a late call."""
    return LateCall(number, late_s, thread, (Exchange("r", True).request,), blocks_all)


def test_a_worker_is_replaced_after_the_grace(stuck: Stuck) -> None:
    """Once its only call has been late for longer than the grace, once, and the log says which request is where."""
    watched = Watched()
    thread = threading.Thread(target=stuck.work, args=("stuck",))
    thread.start()
    stuck.entered.wait()
    with logged("azmlinfsrv") as messages:
        assert watched.check(late(2.9)) == 0
        assert watched.check() == 0
        assert messages == []
        assert watched.check(late(3.0, thread=thread.ident or 0)) == 1
        assert watched.check(late(3.3)) == 1
    stuck_line, replaced = messages
    assert stuck_line.startswith("run() is stuck: it has not come back 3.0 s after it was given up.\n")
    assert "in work\n    self.go.wait()\n" in stuck_line
    assert stuck_line.endswith("Request id: id-r")
    assert "makes way" in replaced
    stuck.go.set()
    thread.join()


def test_no_grace_is_any_time() -> None:
    """With a grace of 0 no worker is replaced."""
    assert Watched(grace_ms=0).check(late(1_000_000)) == 0


def test_other_threads_serve_on() -> None:
    """A worker of which one thread of two is stuck is replaced once it has nothing to do, or the other is stuck too."""
    watched = Watched(slots=2)
    with logged("azmlinfsrv") as messages:
        for _ in range(3):
            assert watched.check(late(5), pending=1) == 0
        assert len(messages) == 1
        assert watched.check(late(5), pending=0) == 1
    assert Watched(slots=2).check(late(5, 1), late(5, 2), pending=7) == 1
    assert Watched(slots=100).check(late(5, blocks_all=True), pending=7) == 1
