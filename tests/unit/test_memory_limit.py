"""When a worker has grown too much."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from azmlinfsrv.memory_limit import PERIOD_S, MemoryLimit

if TYPE_CHECKING:
    import pytest


class Memory:
    """What a process needs, in bytes; an error where it is None."""

    def __init__(self, used_bytes: int | None) -> None:
        self.used_bytes = used_bytes
        self.looks = 0

    def __call__(self) -> int:
        """Return it, and count the look."""
        self.looks += 1
        if self.used_bytes is None:
            raise OSError("no descriptor is left")
        return self.used_bytes


def test_a_limit_that_is_exceeded_is_told_once() -> None:
    """A process is over its limit once it needs more, and says so once."""
    memory = Memory(500)
    limit = MemoryLimit(1000, memory, 0.0)
    assert not limit.is_over(0.0)
    memory.used_bytes = 1000
    assert not limit.is_over(PERIOD_S)
    memory.used_bytes = 1001
    assert limit.is_over(2 * PERIOD_S)
    assert not limit.is_over(3 * PERIOD_S)


def test_it_is_measured_now_and_then() -> None:
    """It is measured once a second, however often it is asked for."""
    memory = Memory(1)
    limit = MemoryLimit(1000, memory)
    for tick in range(9):
        limit.is_over(tick * PERIOD_S / 4)
    assert memory.looks == 3


def test_each_worker_draws_its_own_limit() -> None:
    """Limits are up to a tenth lower than the setting, and differ."""
    assert MemoryLimit(1000, Memory(0), 0.0).limit_bytes == 1000
    assert MemoryLimit(1000, Memory(0), 1.0).limit_bytes == 900
    drawn = {MemoryLimit(10**9, Memory(0)).limit_bytes for _ in range(20)}
    assert len(drawn) > 1 and all(9 * 10**8 <= limit <= 10**9 for limit in drawn)


def test_a_limit_below_what_the_script_needs(caplog: pytest.LogCaptureFixture) -> None:
    """A limit that is exceeded before a request was served is logged and dropped: successors would exceed it too."""
    limit = MemoryLimit(1000, Memory(2000))
    with caplog.at_level(logging.WARNING):
        assert not limit.is_over(0.0) and not limit.is_over(PERIOD_S)
    assert "2000 bytes" in caplog.text and "AZMLINFSRV_MAX_WORKER_MEMORY_BYTES" in caplog.text


def test_memory_that_cannot_be_read() -> None:
    """Where there is no descriptor to look with, the next look tells."""
    memory = Memory(10)
    limit = MemoryLimit(1000, memory, 0.0)
    limit.is_over(0.0)
    memory.used_bytes = None
    assert not limit.is_over(PERIOD_S)
    memory.used_bytes = 2000
    assert limit.is_over(2 * PERIOD_S)
