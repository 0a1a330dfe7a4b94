"""The bounded queue of records."""

from __future__ import annotations

import threading

import pytest

from azmlinfsrv.telemetry.record_queue import RecordQueue


def test_records_come_out_in_order() -> None:
    """What was put first is taken first."""
    queue = RecordQueue(10, 100)
    assert all(queue.put(number, 1) for number in range(5))
    assert [entry.record for entry in queue.take(10, 100)] == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(("records", "size_bytes", "fit"), [(3, 1, 3), (100, 40, 2), (100, 101, 0)])
def test_what_does_not_fit_is_dropped_and_counted(records: int, size_bytes: int, fit: int) -> None:
    """Neither the number nor the bytes of what is held go beyond their bounds."""
    queue = RecordQueue(records, 100)
    assert [queue.put(number, size_bytes) for number in range(5)].count(True) == fit
    assert (queue.held_records, queue.held_bytes, queue.dropped) == (fit, fit * size_bytes, 5 - fit)


def test_taken_records_count_until_they_are_released() -> None:
    """A batch that is being written takes up its place until it is written."""
    queue = RecordQueue(2, 100)
    queue.put("a", 10)
    queue.put("b", 10)
    queue.take(10, 100)
    assert not queue.put("c", 10)
    queue.release(2, 20)
    assert queue.put("c", 10)
    assert (queue.held_records, queue.held_bytes, queue.dropped) == (1, 10, 1)


def test_a_batch_is_bounded() -> None:
    """A batch has as many records and bytes as asked for at the most, and one record at least."""
    queue = RecordQueue(10, 1000)
    for size_bytes in (50, 10, 10, 40):
        queue.put("record", size_bytes)
    assert [[entry.size_bytes for entry in queue.take(2, 30)] for _ in range(4)] == [[50], [10, 10], [40], []]


def test_waiting_ends_when_there_is_something_to_take() -> None:
    """A consumer that waits is woken by a record, and finds what is left of a batch at once."""
    queue = RecordQueue(10, 100)
    assert not queue.wait(0)
    woken = threading.Event()

    def consume() -> None:
        if queue.wait(10):
            woken.set()

    consumer = threading.Thread(target=consume)
    consumer.start()
    queue.put("a", 1)
    queue.put("b", 1)
    assert woken.wait(10)
    consumer.join()
    queue.take(1, 100)
    assert queue.wait(0)
    queue.take(1, 100)
    assert not queue.wait(0)


def test_what_waits_can_be_given_up() -> None:
    """What nobody will write is dropped, counted and no longer held."""
    queue = RecordQueue(10, 100)
    queue.put("a", 5)
    queue.put("b", 5)
    queue.take(1, 100)
    assert queue.give_up() == 1
    assert (queue.held_records, queue.held_bytes, queue.dropped) == (1, 5, 1)
    queue.count_dropped(3)
    assert queue.dropped == 4


def test_many_threads_lose_no_count() -> None:
    """Every record that several threads put is either taken or counted as dropped."""
    queue = RecordQueue(500, 10_000)
    threads = [threading.Thread(target=lambda: [queue.put("x", 3) for _ in range(2000)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    taken = 0
    while any(thread.is_alive() for thread in threads) or queue.held_records:
        batch = queue.take(64, 10_000)
        taken += len(batch)
        queue.release(len(batch), 3 * len(batch))
    assert taken + queue.dropped == 8000
    assert (queue.held_records, queue.held_bytes) == (0, 0)
