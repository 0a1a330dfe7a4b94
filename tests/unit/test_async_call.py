"""Calls of an `async def run()`."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Generator, Iterator
from typing import Any

import pytest

from azmlinfsrv.async_call import call_async
from azmlinfsrv.errors import CallerTimeoutError, RunTimeoutError
from azmlinfsrv.outputs import Started

pytestmark = pytest.mark.anyio

LONG_MS = 60_000


class Awaitable:
    """Something that can be awaited and is no coroutine."""

    def __await__(self) -> Generator[Any, None, str]:
        yield from asyncio.sleep(0).__await__()
        return "awaited"


async def test_results() -> None:
    """A coroutine function, a plain function and one that returns something to await give their result."""

    async def run(a: int, b: int) -> int:
        await asyncio.sleep(0)
        return a - b

    assert await call_async(run, {"b": 1, "a": 3}, LONG_MS) == 2
    assert await call_async(lambda data: data, {"data": 5}, LONG_MS) == 5
    assert await call_async(Awaitable, {}, LONG_MS) == "awaited"
    assert await call_async(lambda: None, {}, LONG_MS) is None


async def test_a_call_may_have_any_time() -> None:
    """A deadline of 0 is none."""

    async def run() -> str:
        await asyncio.sleep(0.02)
        return "done"

    assert await call_async(run, {}, 0) == "done"


async def test_generators() -> None:
    """Of a generator of either kind, the first item is made and the rest is not."""
    made: list[str] = []

    async def run_async() -> AsyncIterator[str]:
        for item in ("a", "b"):
            made.append(item)
            yield item

    def run() -> Iterator[str]:
        yield from ("c", "d")

    async def returns_one() -> AsyncIterator[str]:
        return run_async()

    started = await call_async(run_async, {}, LONG_MS)
    assert isinstance(started, Started)
    assert (started.first, made) == ("a", ["a"])
    assert isinstance(started.rest, AsyncIterator)
    assert [item async for item in started.rest] == ["b"]

    started = await call_async(run, {}, LONG_MS)
    assert isinstance(started.rest, Iterator)
    assert [started.first, *started.rest] == ["c", "d"]

    started = await call_async(returns_one, {}, LONG_MS)
    assert started.first == "a"
    await started.rest.aclose()


@pytest.mark.parametrize("error", [ValueError("x"), TimeoutError("x"), asyncio.TimeoutError(), StopAsyncIteration()])
async def test_errors_of_the_function(error: Exception) -> None:
    """What the function raises comes out, a TimeoutError of its own too."""

    async def run() -> None:
        await asyncio.sleep(0)
        raise error

    with pytest.raises(type(error)) as caught:
        await call_async(run, {}, LONG_MS)
    assert caught.value is error


async def test_a_call_that_takes_too_long_is_cancelled() -> None:
    """At the deadline the coroutine is cancelled, and may clean up before the answer goes out."""
    ended: list[str] = []

    async def run() -> None:
        try:
            await asyncio.sleep(1000)
        finally:
            await asyncio.sleep(0)
            ended.append("cleaned up")

    with pytest.raises(RunTimeoutError) as caught:
        await call_async(run, {}, 20)
    assert caught.value.message == "Scoring timeout after 20 ms"
    assert ended == ["cleaned up"]


async def test_a_first_item_that_takes_too_long() -> None:
    """The first item of an asynchronous generator is due by the deadline as well."""
    ended: list[str] = []

    async def run() -> AsyncIterator[int]:
        try:
            await asyncio.sleep(1000)
            yield 1
        finally:
            ended.append("closed")

    with pytest.raises(RunTimeoutError):
        await call_async(run, {}, 20)
    assert ended == ["closed"]


async def test_a_call_that_will_not_be_cancelled() -> None:
    """A coroutine that swallows its cancellation does not keep the answer back for long."""
    release = asyncio.Event()
    ended = asyncio.Event()

    async def run() -> None:
        while not release.is_set():
            try:
                await release.wait()
            except asyncio.CancelledError:  # what users write
                continue
        ended.set()

    with pytest.raises(RunTimeoutError):
        await call_async(run, {}, 20)
    assert not ended.is_set()  # nothing but this lets it end
    release.set()
    await asyncio.wait_for(ended.wait(), 10)


async def test_the_callers_cancellation_goes_on() -> None:
    """A caller that is cancelled cancels the coroutine."""
    started, ended = asyncio.Event(), asyncio.Event()

    async def run() -> None:
        started.set()
        try:
            await asyncio.sleep(1000)
        finally:
            ended.set()

    task = asyncio.ensure_future(call_async(run, {}, LONG_MS))
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.wait_for(ended.wait(), 10)


async def test_clean_up_is_awaited() -> None:
    """A caller that is cancelled has ended when the coroutine has cleaned up."""
    started, cleaned = asyncio.Event(), False

    async def run() -> None:
        nonlocal cleaned
        try:
            started.set()
            await asyncio.sleep(1000)
        finally:
            await asyncio.sleep(0.01)
            cleaned = True

    task = asyncio.ensure_future(call_async(run, {}, LONG_MS))
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert cleaned


@pytest.mark.parametrize("fails", [False, True])
async def test_a_cancellation_that_is_swallowed(fails: bool) -> None:
    """A coroutine decides how it ends: with a result or an error of its own, as without the cancellation."""
    started = asyncio.Event()

    async def run() -> str:
        started.set()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(1000)
        if fails:
            raise LookupError
        return "done"

    task = asyncio.ensure_future(call_async(run, {}, LONG_MS))
    await started.wait()
    task.cancel()
    await asyncio.wait({task})
    if fails:
        assert isinstance(task.exception(), LookupError)
    else:
        assert task.result() == "done"


@pytest.mark.parametrize(
    ("timeout_ms", "left_s", "expected"),
    [(20, 1000, RunTimeoutError), (LONG_MS, 0.02, CallerTimeoutError), (0, -1, CallerTimeoutError)],
)
async def test_the_earlier_of_two_deadlines(timeout_ms: int, left_s: float, expected: type[RunTimeoutError]) -> None:
    """A call ends at the deadline of the setting or of its caller, whichever is earlier, and its error says which."""

    async def run() -> None:
        await asyncio.sleep(1000)

    with pytest.raises(RunTimeoutError) as caught:
        await call_async(run, {}, timeout_ms, time.perf_counter() + left_s)
    assert type(caught.value) is expected


async def test_calls_run_at_the_same_time() -> None:
    """Two calls wait for each other."""
    one, two = asyncio.Event(), asyncio.Event()

    async def run(mine: asyncio.Event, other: asyncio.Event) -> str:
        mine.set()
        await other.wait()
        return "met"

    calls = [
        call_async(run, {"mine": one, "other": two}, LONG_MS),
        call_async(run, {"mine": two, "other": one}, LONG_MS),
    ]
    assert await asyncio.gather(*calls) == ["met", "met"]
