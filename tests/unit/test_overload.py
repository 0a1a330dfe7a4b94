"""Too much, too late, and clients that leave: what every kind of runner does with requests that wait or run."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import AsyncIterator, Iterator
from types import ModuleType
from typing import Any

import pytest

from azmlinfsrv import codec
from azmlinfsrv.errors import BadInputError, OverloadError
from azmlinfsrv.expiry import Pace
from azmlinfsrv.script import Script
from azmlinfsrv.settings import Settings
from azmlinfsrv.strategy import batch_limits, make_runner
from azmlinfsrv.telemetry.board import Board
from azmlinfsrv.telemetry.metrics import WorkerMetrics
from azmlinfsrv.telemetry.prometheus import exposition
from azmlinfsrv.telemetry.readings import read
from tests.scraping import Scraped
from tests.unit.http_fakes import logged
from tests.unit.stage import WAIT_S, Exchange, Signal, Stage

KINDS = {
    "one": {},
    "threads": {"worker_threads": 2},
    "async": {"async_limit": 1},
    "batch": {"max_batch_size": 4},
    "batch-threads": {"max_batch_size": 4, "worker_threads": 2},
}
SYNC_KINDS = [kind for kind in KINDS if kind != "async"]
every_kind = pytest.mark.parametrize("kind", KINDS)


class Busy:
    """A script whose calls of ``run()`` with the input "hold" work until they are let go.

    Attributes:
        seen: inputs that ``run()`` has got.
        go: lets the calls go that are held.
        stage: the runner.
        metrics: what it counts.
    """

    def __init__(self, kind: str, **settings: Any) -> None:
        self.kind = kind
        self.seen: list[str] = []
        self.go = Signal()
        self._entered: threading.Semaphore = threading.Semaphore(0)
        module = ModuleType("score")
        module.run, module.init = self._run_async if kind == "async" else self._run, lambda: None  # type: ignore[attr-defined]  # a script
        module.__file__ = "score.py"
        script, chosen = Script(module), Settings(**{**KINDS[kind], **settings})
        runner = make_runner(script, chosen, lambda: None, None, batch_limits(script, chosen))
        board = Board(1, 1)
        self.metrics = runner.metrics = WorkerMetrics(board, board.take())
        runner.admission.count = self.metrics.refused
        self.metrics.serve(["/score"], runner.slots, 0.0, runner.max_batch_size)
        self.stage = Stage(runner)
        self.slots = runner.slots

    def _run(self, data: Any) -> Any:
        names = data if isinstance(data, list) else [data]
        self.seen += names
        if "hold" in names:
            self._entered.release()
            self.go.wait()
        return data

    async def _run_async(self, data: Any) -> Any:
        self.seen.append(data)
        if data == "hold":
            self._entered.release()
            await self.go.wait_async()
        return data

    def hold(self) -> list[Exchange]:
        """Have all calls at work, one after the other, so that no two are a batch."""
        exchanges = []
        for _ in range(self.slots):
            exchanges.append(self.stage.submit("hold"))
            assert self._entered.acquire(timeout=WAIT_S)
        return exchanges

    def scraped(self) -> Scraped:
        """Return what has been counted."""
        return Scraped(exposition(read(self.metrics.board)))

    def refusals(self, reason: str) -> float:
        """Return how many requests were refused for a reason."""
        (count,) = self.scraped().values("requests_rejected_total", reason=reason)
        return count


@contextlib.contextmanager
def busy(kind: str, **settings: Any) -> Iterator[Busy]:
    """Serve such a script in the block."""
    served = Busy(kind, **settings)
    before = set(threading.enumerate())
    served.stage.thread.start()
    try:
        yield served
    finally:
        served.go.set()
        served.stage.stop()
    for thread in set(threading.enumerate()) - before:
        thread.join(WAIT_S)
        assert not thread.is_alive()


def message(exchange: Exchange) -> str:
    """Return the message of an error."""
    (response,) = exchange.responses
    value: str = codec.loads(response.body)["message"]
    return value


# -- How many may wait -------------------------------------------------------------------------------------------------


@every_kind
def test_a_full_queue(kind: str) -> None:
    """Beyond what run() works on and what may wait a request is refused at once, and taken again when there is room."""
    with busy(kind, max_queue=3) as served:
        room = 3 + served.slots * (served.stage.runner.max_batch_size or 1)
        exchanges = served.hold()
        exchanges += [served.stage.submit("a") for _ in range(room - len(exchanges))]
        with pytest.raises(OverloadError) as caught:
            served.stage.submit("one too many")
        assert (caught.value.status, caught.value.retry_after_s) == (503, 1)
        assert served.stage.runner.pending == room
        served.go.set()
        served.stage.wait(*exchanges)
        assert served.stage.ask("b").status == 200
        assert {exchange.status for exchange in exchanges} == {200}
        assert served.refusals("queue_full") == 1
    assert "one too many" not in served.seen


@every_kind
def test_nobody_may_wait(kind: str) -> None:
    """With a queue of 0 an idle server works as ever, and a busy one takes what it can work on at once."""
    with busy(kind, max_queue=0) as served:
        assert served.stage.ask().status == 200
        exchanges = served.hold()
        more = served.slots * (served.stage.runner.max_batch_size or 1) - len(exchanges)
        exchanges += [served.stage.submit("a") for _ in range(more)]
        with pytest.raises(OverloadError, match="Too many requests"):
            served.stage.submit()
        served.go.set()
        served.stage.wait(*exchanges)


@every_kind
def test_more_at_a_time_than_are_wanted(kind: str) -> None:
    """Azure ML's limit: one more request than that, waiting or at work, is 429."""
    with busy(kind, max_concurrent_requests=4) as served:
        exchanges = served.hold()
        exchanges += [served.stage.submit("a") for _ in range(4 - len(exchanges))]
        with pytest.raises(OverloadError) as caught:
            served.stage.submit()
        assert caught.value.status == 429
        served.go.set()
        served.stage.wait(*exchanges)
        assert served.stage.ask().status == 200
        assert served.refusals("concurrency") == 1


@every_kind
def test_too_many_bytes(kind: str) -> None:
    """Bodies that wait, and those that run() works on, have a bound together; answered ones make room."""
    large = "x" * 600_000
    with busy(kind, max_queue_bytes=1_000_000) as served:
        held = served.hold()
        waiting = served.stage.submit(large)
        with pytest.raises(OverloadError) as caught:
            served.stage.submit(large)
        assert (caught.value.status, served.refusals("queue_bytes")) == (503, 1)
        served.stage.submit("small")
        served.go.set()
        served.stage.wait(*held, waiting)
        assert served.stage.ask(large).status == 200
        assert served.stage.runner.admission.held_bytes == 0


@every_kind
def test_what_is_in_flight(kind: str) -> None:
    """Requests that are refused, or dropped while they wait, are not counted as in flight."""
    with busy(kind, max_queue=1, max_queue_wait_ms=1000) as served:
        held = served.hold()
        served.stage.submit("old", age_s=2)
        served.stage.pass_time()
        more = [served.stage.submit("a")]
        with contextlib.suppress(OverloadError):
            while True:
                more.append(served.stage.submit("b"))
        served.go.set()
        served.stage.wait(*held, *more)
        for exchange in (*held, *more):
            served.metrics.finished(exchange.request, 200, 0)
        assert served.scraped().values("requests_in_flight") == [0]


# -- For how long ------------------------------------------------------------------------------------------------------


@every_kind
def test_the_longest_wait(kind: str) -> None:
    """Who has waited for too long is answered by the I/O thread while run() works, and never scored; others are."""
    with busy(kind, max_queue_wait_ms=60_000) as served:
        held = served.hold()
        old, new = served.stage.submit("old", age_s=61), served.stage.submit("new")
        served.stage.pass_time()
        assert (old.status, new.answered) == (503, False)
        assert message(old) == "The request has waited for more than 60000 ms"
        assert dict(old.responses[0].headers)["Retry-After"].isdigit()
        assert old.threads == {threading.get_ident()}
        assert served.refusals("queue_wait") == 1
        served.go.set()
        served.stage.wait(*held, new)
        assert new.status == 200
    assert sorted(set(served.seen)) == ["hold", "new"]


def looks(served: Busy) -> list[float]:
    """Return in how many seconds the requests that wait will be looked at."""
    return [delay_s for delay_s, function in served.stage.later if function.__name__ == "_look"]


@every_kind
def test_when_the_longest_wait_is_looked_at(kind: str) -> None:
    """The I/O thread looks when the first of those that wait is due, and no more once none waits."""
    with busy(kind, max_queue_wait_ms=60_000) as served:
        held = served.hold()
        first, second = served.stage.submit("a", age_s=50), served.stage.submit("b", age_s=20)
        (delay_s,) = looks(served)
        assert 0 < delay_s <= 10
        first.request.received -= 11
        served.stage.pass_time()
        (delay_s,) = looks(served)
        assert 10 < delay_s <= 40
        assert (first.status, second.answered) == (503, False)
        served.go.set()
        served.stage.wait(*held, second)
        served.stage.pass_time()
        assert looks(served) == []


@every_kind
def test_a_wait_that_would_be_too_long(kind: str) -> None:
    """Where the queue cannot be worked off in time, a request is refused at once, and not after the wait."""
    with busy(kind, max_queue_wait_ms=60_000) as served:
        held = served.hold()
        waiting = [served.stage.submit("a") for _ in range(3)]
        served.stage.runner._expiry.pace.seconds = 14.0
        waiting.append(served.stage.submit("a"))
        with pytest.raises(OverloadError) as caught:
            served.stage.submit("too late")
        assert caught.value.message == "The request would wait for more than 60000 ms"
        assert (caught.value.status, served.refusals("queue_wait")) == (503, 1)
        served.go.set()
        served.stage.wait(*held, *waiting)
        assert served.stage.ask("b").status == 200
    assert "too late" not in served.seen


def test_the_pace_of_answers() -> None:
    """It is what a window of a busy time says, whatever idle times there were, and follows the next window."""
    pace = Pace(1.0)
    pace.look(10.0)
    for _ in range(4):
        pace.answered(is_crowded=True)
    pace.look(10.9)
    assert pace.seconds == 0.0
    pace.look(11.0)
    assert pace.seconds == 0.25
    pace.answered(is_crowded=True)
    pace.answered(is_crowded=False)  # nobody waits
    pace.look(12.0)
    pace.look(15.0)
    assert pace.seconds == 0.25  # nothing was answered: who knows
    pace.answered(is_crowded=True)
    pace.look(16.0)
    assert pace.seconds == 4.0


def test_a_pace_that_is_not_measured_any_more() -> None:
    """After a while without a busy time the last pace says nothing: else it would refuse requests for ever."""
    pace = Pace(1.0)
    pace.look(10.0)
    pace.answered(is_crowded=True)
    pace.look(20.0)
    pace.answered(is_crowded=False)
    pace.look(70.0)
    assert pace.seconds == 10.0
    pace.look(76.0)
    assert pace.seconds == 0.0


@every_kind
def test_a_caller_that_waits_no_longer(kind: str) -> None:
    """A request whose caller's deadline passes while it waits is answered 504 at that moment, and never scored."""
    with busy(kind) as served:
        held = served.hold()
        late = served.stage.submit("late", age_s=1, x_request_timeout_ms="900")
        patient = served.stage.submit("patient", age_s=1, x_request_timeout_ms=" 60000 ")
        served.stage.pass_time()
        assert (late.status, patient.answered) == (504, False)
        assert dict(late.responses[0].headers)["x-ms-run-function-failed"] == "False"
        assert served.refusals("deadline") == 1
        served.go.set()
        served.stage.wait(*held, patient)
        assert patient.status == 200
    assert "late" not in served.seen


@every_kind
def test_a_turn_that_comes_too_late(kind: str) -> None:
    """A request whose turn comes after its caller's deadline is not scored, also where nobody looked meanwhile."""
    with busy(kind) as served:
        held = served.hold()
        late = served.stage.submit("late", age_s=1, x_request_timeout_ms="900")
        served.go.set()
        served.stage.wait(*held, late)
        assert late.status == 504
        assert served.refusals("deadline") == 1
    assert "late" not in served.seen


@pytest.mark.parametrize("value", ["", "0", "-1", "1.5", "1e3", "ten", "100,200", "1" * 11, "٣"])
def test_a_deadline_that_is_none(value: str) -> None:
    """What is not a whole number of milliseconds is refused, with the name of the header."""
    with busy("one") as served:
        exchange = Exchange("a", reads=True)
        exchange.request.headers[b"x-request-timeout-ms"] = value.encode()
        with pytest.raises(BadInputError, match="x-request-timeout-ms must be"):
            served.stage.runner.submit(exchange.request, exchange.done)
        assert served.stage.runner.pending == 0


@pytest.mark.parametrize(("name", "status"), [("X-Other", 504), ("", 200)])
def test_the_name_of_the_header(name: str, status: int) -> None:
    """A deadline is read from the header that the setting names, or from none."""
    with busy("one", deadline_header=name) as served:
        exchange = served.stage.submit("a", age_s=1, x_other="10", x_request_timeout_ms="no number")
        served.stage.wait(exchange)
        assert exchange.status == status


@every_kind
def test_a_call_within_its_callers_deadline(kind: str) -> None:
    """A caller's deadline ends run() as SCORING_TIMEOUT_MS does, with 504; the next call has its whole time."""

    def spin(data: Any) -> Any:
        until = time.monotonic() + WAIT_S
        while "spin" in data and time.monotonic() < until:
            pass
        return data

    async def sleep(data: Any) -> Any:
        await asyncio.sleep(WAIT_S if data == "spin" else 0)
        return data

    served = Busy(kind)
    served.stage.runner._scorer._run = sleep if kind == "async" else spin
    if "batch" in kind:
        served.stage.runner._batches._run = spin  # type: ignore[attr-defined]
    served.stage.thread.start()
    try:
        with logged("azmlinfsrv") as log:
            exchange = served.stage.submit("spin", x_request_timeout_ms="100")
            until = time.monotonic() + WAIT_S
            while not exchange.answered and time.monotonic() < until:
                served.stage.pass_time()
                served.stage.io.until_quiet()
            assert exchange.status == 504
        assert message(exchange) == "The deadline of the request passed while it was scored"
        assert dict(exchange.responses[0].headers)["x-ms-run-function-failed"] == "True"
        assert exchange.request.timed_out
        assert any("the caller's" in line for line in log)
        assert served.stage.ask("a").status == 200
    finally:
        served.stage.stop()


@pytest.mark.parametrize(("headers", "limited"), [(("50", "60"), True), (("50", ""), False)])
def test_a_batch_and_its_callers(headers: tuple[str, str], limited: bool) -> None:
    """A batch goes on until the last of its callers waits no longer; one without a deadline waits for any time."""
    with busy("batch") as served:
        held = served.hold()
        exchanges = []
        for value in headers:
            name = "x_request_timeout_ms" if value else "x_other"
            exchanges.append(served.stage.submit("hold", reads=True, age_s=0.0, **{name: value + "000"}))
        first = served.go
        served.go = Signal()
        first.set()
        served.stage.wait(*held)
        assert served._entered.acquire(timeout=WAIT_S)
        (deadline,) = served.stage.runner._deadlines
        assert deadline.until == (exchanges[1].request.deadline if limited else float("inf"))
        served.go.set()
        served.stage.wait(*exchanges)
        assert served.seen == ["hold"] * 3
        assert deadline.until == float("inf")


# -- Clients that leave ------------------------------------------------------------------------------------------------


def leave(served: Busy, exchange: Exchange) -> None:
    """Have a client leave, as its connection says."""
    exchange.request.disconnected = True
    served.stage.runner.abandon(exchange.request)


@every_kind
def test_a_client_that_leaves_the_queue(kind: str) -> None:
    """Its request is dropped at once and never scored; its neighbours have their answers."""
    with busy(kind) as served:
        held = served.hold()
        exchanges = [served.stage.submit(name) for name in "abc"]
        leave(served, exchanges[1])
        assert exchanges[1].status == 499
        assert served.stage.runner.pending == served.slots + 2
        leave(served, exchanges[1])
        served.go.set()
        served.stage.wait(*held, exchanges[0], exchanges[2])
        assert [exchange.status for exchange in exchanges] == [200, 499, 200]
        assert served.scraped().values("requests_abandoned_total", stage="waiting") == [1]
        assert served.stage.runner.pending == 0
        assert served.stage.runner.answered == served.slots + 2
    assert sorted(set(served.seen)) == ["a", "c", "hold"]


@every_kind
def test_everybody_leaves(kind: str) -> None:
    """A queue that all have left costs no call, and those who come later are served."""
    with busy(kind) as served:
        held = served.hold()
        exchanges = [served.stage.submit("gone") for _ in range(50)]
        for exchange in exchanges:
            leave(served, exchange)
        served.go.set()
        served.stage.wait(*held)
        assert served.stage.ask("a").status == 200
    assert sorted(set(served.seen)) == ["a", "hold"]


@pytest.mark.parametrize("kind", SYNC_KINDS)
def test_a_client_that_leaves_a_call(kind: str) -> None:
    """A plain run() goes on to its end, whoever left."""
    with busy(kind) as served:
        held = served.hold()
        leave(served, held[0])
        assert not held[0].answered
        served.go.set()
        served.stage.wait(*held)
        assert held[0].status == 200
        assert served.stage.runner.pending == 0


@every_kind
def test_a_request_is_answered_once(kind: str) -> None:
    """Whoever is first has a request, its scoring thread, its longest wait or its client: it is answered once."""
    with busy(kind) as served:
        exchanges = []
        for number in range(300):
            exchange = served.stage.submit(str(number))
            exchanges.append(exchange)
            if number % 2:
                leave(served, exchange)
        served.stage.wait(*exchanges)
        served.stage.io.until_quiet()
        assert all(len(exchange.responses) == 1 for exchange in exchanges)
        dropped = [exchange for exchange in exchanges if exchange.request.dropped]
        assert {exchange.status for exchange in dropped} <= {499}
        assert served.stage.runner.pending == 0
        assert not served.stage.runner._waiting
    assert not {exchange.request.body.decode() for exchange in dropped} & set(served.seen)


# -- Clients that leave an asynchronous call ---------------------------------------------------------------------------


class Cancelled(Busy):
    """An ``async def run()`` of which a test says what it does when it is cancelled.

    Attributes:
        ends: how calls ended, and what they cleaned up.
        entered: a call has begun.
        swallows: whether calls go on when they are cancelled, until `go`.
    """

    def __init__(self, *, swallows: bool = False) -> None:
        super().__init__("async")
        self.ends: list[str] = []
        self.entered, self.swallows = Signal(), swallows

    async def _run_async(self, data: Any) -> Any:
        if data != "wait":
            return data
        self.entered.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.ends.append("cancelled")
            if not self.swallows:
                raise
            await self.go.wait_async()
        finally:
            await asyncio.sleep(0.01)
            self.ends.append("cleaned up")
        return data


@contextlib.contextmanager
def cancelled(*, swallows: bool = False) -> Iterator[tuple[Cancelled, Exchange]]:
    """Serve such a script in the block, whose first request waits in ``run()`` when its client leaves."""
    served = Cancelled(swallows=swallows)
    served.stage.thread.start()
    try:
        exchange = served.stage.submit("wait")
        served.entered.wait()
        leave(served, exchange)
        yield served, exchange
    finally:
        served.go.set()
        served.stage.stop()


def test_an_async_call_is_cancelled() -> None:
    """The coroutine gets a CancelledError and cleans up; its slot is free then, and nothing is an error in the log."""
    with logged("azmlinfsrv") as log, cancelled() as (served, exchange):
        served.stage.wait(exchange)
        assert (exchange.status, served.ends) == (499, ["cancelled", "cleaned up"])
        assert served.stage.ask("next").status == 200
        assert served.scraped().values("requests_abandoned_total", stage="running") == [1]
        assert served.stage.runner.pending == 0
    assert not [line for line in log if "Exception" in line]


def test_an_async_call_that_swallows_its_cancellation() -> None:
    """It goes on to its end and keeps its slot for so long; its result is nobody's."""
    with cancelled(swallows=True) as (served, exchange):
        other = served.stage.submit("next")
        while served.ends != ["cancelled"]:
            served.stage.io.until_quiet()
        assert not other.answered
        served.go.set()
        served.stage.wait(exchange, other)
        assert (exchange.status, other.status) == (200, 200)
        assert served.scraped().values("requests_abandoned_total", stage="running") == [0]


def test_an_async_call_that_has_just_been_taken() -> None:
    """A client that leaves between the turn of its request and the call has no call."""
    with busy("async", async_limit=2) as served:
        runner, seen = served.stage.runner, served.seen
        exchange = Exchange("a", reads=True)
        take = runner._take

        def take_and_leave(request: Any, deadline: Any) -> Any:
            done = take(request, deadline)
            request.disconnected = True
            return done

        runner._take = take_and_leave  # type: ignore[method-assign]
        runner.submit(exchange.request, exchange.done)
        served.stage.wait(exchange)
        assert (exchange.status, seen) == (499, [])


# -- Clients that leave a stream ---------------------------------------------------------------------------------------


class Streaming(Busy):
    """A script that streams: a chunk, then more after `go`, and says when its generator is closed.

    Attributes:
        closed: what ended the generator.
    """

    def __init__(self, kind: str, **settings: Any) -> None:
        self.closed: list[str] = []
        self.chunk = "x"
        super().__init__(kind, **settings)

    def _run(self, data: Any) -> Any:
        return self._items() if data == "stream" else data

    def _items(self) -> Iterator[str]:
        try:
            yield self.chunk
            self.go.wait()
            while True:
                yield self.chunk
        except GeneratorExit:
            self.closed.append("closed")
            raise

    async def _run_async(self, data: Any) -> Any:
        return self._items_async() if data == "stream" else data

    async def _items_async(self) -> AsyncIterator[str]:
        try:
            while True:
                yield self.chunk
                await self._pause()
        except GeneratorExit:
            self.closed.append("closed")
            raise
        except asyncio.CancelledError:
            self.closed.append("cancelled")
            raise

    async def _pause(self) -> None:
        if self.chunk == "x":
            await asyncio.Event().wait()


@contextlib.contextmanager
def streaming(kind: str, chunk: str = "x") -> Iterator[tuple[Streaming, Exchange]]:
    """Serve such a script in the block, whose first request has had its first chunk."""
    served = Streaming(kind)
    served.chunk = chunk
    served.stage.thread.start()
    try:
        exchange = served.stage.submit("stream", reads=False)
        served.stage.io.until(lambda: bool(exchange.chunks))
        yield served, exchange
    finally:
        served.go.set()
        served.stage.stop()


def leave_stream(served: Streaming, exchange: Exchange) -> None:
    """Have the client of a stream leave, as its connection says."""
    exchange.leave()
    leave(served, exchange)


def test_a_stream_whose_client_left_between_chunks() -> None:
    """An asynchronous generator that waits for its next item is cancelled; the slot is free then."""
    with logged("azmlinfsrv") as log, streaming("async") as (served, exchange):
        leave_stream(served, exchange)
        served.stage.wait(exchange)
        assert (exchange.ending, served.closed) == ("abort", ["cancelled"])
        assert served.stage.ask("next").status == 200
        assert served.scraped().values("requests_abandoned_total", stage="streaming") == [1]
    assert not [line for line in log if "Exception" in line]


@pytest.mark.parametrize("kind", ["one", "threads", "async"])
def test_a_stream_whose_client_left_while_it_was_held_back(kind: str) -> None:
    """A generator that is ahead of its client, and so not asked for more, is closed as soon as the client leaves."""
    with streaming(kind, "x" * 200_000) as (served, exchange):
        served.go.set()
        served.stage.io.until_quiet()
        leave_stream(served, exchange)
        served.stage.wait(exchange)
        served.stage.ask("next")
        assert exchange.ending == "abort"
        assert len(served.closed) == 1
        assert served.scraped().values("requests_abandoned_total", stage="streaming") == [1]


@pytest.mark.parametrize("kind", ["one", "threads"])
def test_a_plain_stream_whose_client_left_between_chunks(kind: str) -> None:
    """A plain generator works on to its next item, and is closed there."""
    with streaming(kind) as (served, exchange):
        leave_stream(served, exchange)
        served.stage.io.until_quiet()
        assert served.closed == []
        served.go.set()
        served.stage.wait(exchange)
        served.stage.ask("next")
        assert served.closed == ["closed"]
        assert served.stage.runner.pending == 0
