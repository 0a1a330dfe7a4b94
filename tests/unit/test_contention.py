"""Whether the I/O thread and `run()` are in each other's way."""

from __future__ import annotations

import sys
import threading
import time

import pytest

from azmlinfsrv.contention import LEAST_REQUESTS, MOST_SLEEPS, Contention, thread_sleeps


def test_many_sleeps_for_each_request_are_high() -> None:
    """More sleeps a request than are of use are contention, until there are fewer again."""
    slept = 0
    contention = Contention(lambda: slept)
    assert not contention.check(0)
    slept = 10 * MOST_SLEEPS + 1
    assert contention.check(10)
    slept += 10 * MOST_SLEEPS
    assert not contention.check(20)


def test_few_requests_tell_nothing() -> None:
    """An idle thread sleeps, too: before there were enough requests it stays as it was, and nothing is forgotten."""
    slept = 0
    contention = Contention(lambda: slept)
    for answered in range(LEAST_REQUESTS):
        slept += MOST_SLEEPS + 1
        assert not contention.check(answered)
    assert contention.check(LEAST_REQUESTS)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells it of a thread")
def test_the_sleeps_are_the_threads_own() -> None:
    """What another thread does is not counted."""
    before = thread_sleeps()
    other = threading.Thread(target=sleep_often)
    other.start()
    other.join()
    between = thread_sleeps()
    sleep_often()
    assert between - before < 25 and thread_sleeps() - between >= 50


def sleep_often() -> None:
    """Go to sleep 50 times."""
    for _ in range(50):
        time.sleep(0.001)
