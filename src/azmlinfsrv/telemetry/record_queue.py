"""A queue that is bounded by records and by bytes: what does not fit is dropped and counted, nobody waits."""

from __future__ import annotations

import threading
from collections import deque
from typing import Any, NamedTuple


class Entry(NamedTuple):
    """One record of the queue.

    Attributes:
        record: whatever was put.
        size_bytes: how much memory it stands for.
    """

    record: Any
    size_bytes: int


class RecordQueue:
    """Takes records on any thread and gives them, in batches, to one.

    What was taken counts against the bounds until it is `release`d, so that they bound what a slow writer holds too.

    Args:
        max_records: how many records may be held.
        max_bytes: how many bytes they may stand for.

    Attributes:
        dropped: number of records that were lost, most because they did not fit.
    """

    def __init__(self, max_records: int, max_bytes: int) -> None:
        self._max_records = max_records
        self._max_bytes = max_bytes
        self._entries: deque[Entry] = deque()
        self._lock = threading.Lock()
        self._filled = threading.Event()
        self._records = 0
        self._bytes = 0
        self.dropped = 0

    @property
    def held_bytes(self) -> int:
        """How many bytes the records that are not released stand for."""
        return self._bytes

    @property
    def held_records(self) -> int:
        """Number of records that are not released."""
        return self._records

    def put(self, record: Any, size_bytes: int) -> bool:
        """Add a record; returns at once, with False where it was dropped."""
        with self._lock:
            if self._records >= self._max_records or self._bytes + size_bytes > self._max_bytes:
                self.dropped += 1
                return False
            self._records += 1
            self._bytes += size_bytes
        self._entries.append(Entry(record, size_bytes))
        if not self._filled.is_set():
            self._filled.set()
        return True

    def wait(self, timeout_s: float | None) -> bool:
        """Wait until there is something to take, `wake` was called, or the time is over."""
        return self._filled.wait(timeout_s)

    def wake(self) -> None:
        """Let `wait` return."""
        self._filled.set()

    def take(self, max_records: int, max_bytes: int) -> list[Entry]:
        """Return the oldest records, one at least where there is one, of that many bytes at the most."""
        self._filled.clear()
        batch: list[Entry] = []
        taken_bytes = 0
        while self._entries and len(batch) < max_records:
            if batch and taken_bytes + self._entries[0].size_bytes > max_bytes:
                break
            entry = self._entries.popleft()
            taken_bytes += entry.size_bytes
            batch.append(entry)
        if self._entries:
            self._filled.set()
        return batch

    def release(self, records: int, size_bytes: int, dropped: int = 0) -> None:
        """Free the place of records that were taken; `dropped` of them are counted as lost."""
        with self._lock:
            self._records -= records
            self._bytes -= size_bytes
            self.dropped += dropped

    def count_dropped(self, records: int) -> None:
        """Count records as lost that were released before."""
        self.release(0, 0, records)

    def give_up(self) -> int:
        """Drop what waits, count it, and return how many records that were."""
        left = self.take(self._max_records, self._max_bytes)
        self.release(len(left), sum(entry.size_bytes for entry in left), len(left))
        return len(left)
