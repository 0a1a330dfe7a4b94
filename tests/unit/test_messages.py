"""Requests and responses, and the gate between a stream's producer and its client."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest

from azmlinfsrv.messages import NO_REPLY, ClientGoneError, Gate, Request, Response

WAIT_S = 10


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    """Threads for producers."""
    with ThreadPoolExecutor(4) as pool:
        yield pool


def waiting(gate: Gate, pool: ThreadPoolExecutor, count: int) -> Future[None]:
    """Have a producer take bytes, and return once it waits for them."""
    entered = threading.Event()
    gate._condition.wait_for = _telling(gate._condition.wait_for, entered)  # type: ignore[method-assign, assignment]
    future = pool.submit(gate.take, count)
    assert entered.wait(WAIT_S)
    return future


def _telling(wait_for: Callable[..., bool], entered: threading.Event) -> Callable[..., bool]:
    """Return a `wait_for` that says when it has found the gate shut: it holds the lock until it sleeps."""

    def telling(predicate: Callable[[], bool], timeout: float | None = None) -> bool:
        def tell() -> bool:
            is_open = predicate()
            if not is_open:
                entered.set()
            return is_open

        return wait_for(tell, timeout)

    return telling


# -- Requests and responses ------------------------------------------------------------------------------------------


def test_headers_of_a_request() -> None:
    """A header is text in latin-1, and empty where it is absent."""
    request = Request("GET", b"/", "/", b"", {b"a": b"\xe9"}, b"", "1.1", ("", 0), 0.0)
    assert (request.header(b"a"), request.header(b"b")) == ("é", "")


def test_a_request_that_nobody_answers() -> None:
    """A request has a place for its answer from the start, which drops it."""
    request = Request("GET", b"/", "/", b"", {}, b"", "1.1", ("", 0), 0.0)
    assert request.reply is NO_REPLY
    request.reply.send(Response(200))
    request.reply.write(b"x", Gate(1, 1))
    request.reply.end()
    request.reply.abort()


def test_responses_share_nothing() -> None:
    """Each response has a list of headers of its own."""
    one, other = Response(200), Response(200)
    one.headers.append(("a", "b"))
    assert other.headers == []
    assert (other.body, other.stream, other.reason, other.exec_ms, other.close) == (b"", None, "", None, False)


# -- The gate --------------------------------------------------------------------------------------------------------


def test_bytes_pass_up_to_the_limit() -> None:
    """A producer is not held back until the limit is reached, and one chunk may go beyond it."""
    gate = Gate(10, WAIT_S)
    gate.take(9)
    gate.take(1_000_000)
    assert not gate.try_take(1, lambda: None)


def test_a_producer_waits_for_its_client(pool: ThreadPoolExecutor) -> None:
    """Beyond the limit the producer waits until enough has been released, and no longer."""
    gate = Gate(10, WAIT_S)
    gate.take(25)
    future = waiting(gate, pool, 5)
    gate.release(15)
    assert not future.done()
    gate.release(1)
    assert future.result(WAIT_S) is None
    assert not gate.try_take(1, lambda: None)


def test_every_producer_that_waits_is_woken(pool: ThreadPoolExecutor) -> None:
    """A release wakes all that wait."""
    gate = Gate(10, 3 * WAIT_S)
    gate.take(10)
    futures = [waiting(gate, pool, 1) for _ in range(3)]
    gate.release(10)
    for future in futures:
        assert future.result(WAIT_S) is None


def test_a_client_that_leaves_frees_its_producer(pool: ThreadPoolExecutor) -> None:
    """A producer that waits for a client that leaves is told, and so is one that comes later."""
    gate = Gate(10, WAIT_S)
    gate.take(10)
    future = waiting(gate, pool, 1)
    gate.close()
    with pytest.raises(ClientGoneError):
        future.result(WAIT_S)
    with pytest.raises(ClientGoneError):
        gate.take(1)
    with pytest.raises(ClientGoneError):
        gate.try_take(1, lambda: None)


def test_a_client_that_does_not_read_has_left() -> None:
    """A client that takes nothing for the whole time is gone, and stays so."""
    gate = Gate(10, 0.01)
    gate.take(10)
    with pytest.raises(ClientGoneError):
        gate.take(1)
    gate.release(10)
    with pytest.raises(ClientGoneError):
        gate.take(1)


def test_taking_without_waiting() -> None:
    """`try_take` says whether it took; where it did not, it calls back once when it is worth trying again."""
    woken: queue.SimpleQueue[str] = queue.SimpleQueue()
    gate = Gate(10, WAIT_S)
    assert gate.try_take(15, lambda: woken.put("never"))
    assert not gate.try_take(1, lambda: woken.put("yes"))
    gate.release(5)
    assert woken.empty()
    gate.release(1)
    assert woken.get_nowait() == "yes"
    gate.release(1)
    assert woken.empty()
    assert gate.try_take(1, lambda: woken.put("never"))


def test_closing_calls_back() -> None:
    """One who waits without blocking hears of it when the client leaves."""
    woken: list[bool] = []
    gate = Gate(1, WAIT_S)
    gate.take(1)
    assert not gate.try_take(1, lambda: woken.append(True))
    gate.close()
    gate.close()
    assert woken == [True]


def test_what_is_held_is_bounded(pool: ThreadPoolExecutor) -> None:
    """However fast the producer, never more than the limit and one chunk is on its way."""
    gate, limit, chunk = Gate(100, WAIT_S), 100, 7
    under_way: queue.SimpleQueue[int | None] = queue.SimpleQueue()
    lock, held, most = threading.Lock(), 0, 0

    def produce() -> None:
        nonlocal held, most
        for _ in range(2000):
            gate.take(chunk)
            with lock:
                held += chunk
                most = max(most, held)
            under_way.put(chunk)
        under_way.put(None)

    future: Future[Any] = pool.submit(produce)
    while (count := under_way.get(timeout=WAIT_S)) is not None:
        with lock:
            held -= count
        gate.release(count)
    future.result(WAIT_S)
    assert held == 0
    assert chunk <= most < limit + chunk
