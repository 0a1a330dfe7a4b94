"""The memory that the workers of a server share to count in, and how it is laid out.

It is made before the workers are forked, and has a slot for each. A slot is written by one thread of one worker and
read by all, without locks: a cell is an aligned double, which is read and written whole.
When a worker ends, what it counted stays, and the next one counts on in its slot.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator, Sequence

from azmlinfsrv.telemetry.catalogue import BOUNDS_S

# The cells of a histogram: the sum, then one for each bucket.
HISTOGRAM_CELLS = 1 + len(BOUNDS_S) + 1

# The cells of a slot, by number.
UP, STARTED, RSS_BYTES, CPU_S, CPU_BEFORE_S, INIT_S, RUN_SLOTS = range(7)
SUBMITTED, STREAMS_BEGUN, STREAMS_ENDED, DISCONNECTED, TIMEOUTS = range(7, 12)
# What the worker has to do, while it takes connections; else 0.
LOAD = 12
# Most rows of a batch, and the requests in batches that run; 0 where requests are scored one by one.
BATCH_LIMIT, BATCHED = 13, 14
# When the worker's I/O thread last gave a sign of life (`time.monotonic`), its process, what it says of itself in bits.
HEARTBEAT, PID, CONDITION = 15, 16, 17
# Whether the worker asks for another to take its place, and whether it has been told that another has.
WORN, RETIRED = 22, 23
QUEUE_HISTOGRAM = 24
RUN_HISTOGRAM = QUEUE_HISTOGRAM + HISTOGRAM_CELLS
BATCH_HISTOGRAM = RUN_HISTOGRAM + HISTOGRAM_CELLS
COUNTERS = BATCH_HISTOGRAM + HISTOGRAM_CELLS

# Counters that are found by a name and the value of a label.
COUNTER_LIMIT = 24
# Requests of one route, method and status: bytes received, bytes sent, and the histogram of their durations.
RECEIVED_BYTES, SENT_BYTES, DURATIONS = range(3)
SERIES = COUNTERS + COUNTER_LIMIT
SERIES_CELLS, SERIES_LIMIT = DURATIONS + HISTOGRAM_CELLS, 100

_CELL_BYTES = 8
_KEY_CELLS = 8
_COUNTER_KEYS = SERIES + SERIES_CELLS * SERIES_LIMIT
_SERIES_KEYS = _COUNTER_KEYS + 1 + COUNTER_LIMIT * _KEY_CELLS
_SLOT_CELLS = _SERIES_KEYS + 1 + SERIES_LIMIT * _KEY_CELLS

# Cells before the first slot: written by the process that forks the workers.
WANTED, RESTARTS, TAKEN = range(3)
# Why the server could not start: the length of a text in bytes, and the text.
_FAILURE_BYTES, _FAILURE, _FAILURE_CELLS = 8, 9, 1024
_HEADER_CELLS = _FAILURE + _FAILURE_CELLS

Key = tuple[str, ...]


class Board:
    """Shared memory with a slot for each worker.

    What has not been touched takes no memory, so that room for many workers costs nothing.

    Args:
        slots: number of workers that there is room for.
        wanted: number of workers that should serve.

    Attributes:
        cells: all cells.
        size: number of slots.
    """

    def __init__(self, slots: int, wanted: int) -> None:
        self._memory = mmap.mmap(-1, (_HEADER_CELLS + slots * _SLOT_CELLS) * _CELL_BYTES)
        self.cells = memoryview(self._memory).cast("d")
        self.cells[WANTED] = wanted
        self.size = slots
        self._free = list(range(slots))

    def keep(self, slots: Sequence[int]) -> None:
        """Give out no other slots than these, which another process that forks does not; called before the first."""
        self._free = list(slots)

    def take(self) -> int | None:
        """Return the lowest free slot, or None; called by the process that forks, before it does."""
        if not self._free:
            return None
        slot = min(self._free)
        self._free.remove(slot)
        self.cells[TAKEN] = max(self.cells[TAKEN], slot + 1)
        return slot

    def release(self, slot: int) -> None:
        """Take a slot back from a worker that has ended; called by the process that forked it."""
        self.clear(slot)
        self._free.append(slot)

    def clear(self, slot: int) -> None:
        """Say that nobody is in a slot; what was counted there stays."""
        if slot < self.cells[TAKEN]:  # memory that nobody has written to takes none
            start = self.start_of(slot)
            for cell in (UP, LOAD, HEARTBEAT, PID, CONDITION, WORN, RETIRED):
                self.cells[start + cell] = 0

    def start_of(self, slot: int) -> int:
        """Return the number of a slot's first cell."""
        return _HEADER_CELLS + slot * _SLOT_CELLS

    def slot_of(self, start: int) -> int:
        """Return the slot whose first cell that is."""
        return (start - _HEADER_CELLS) // _SLOT_CELLS

    def fail(self, text: str) -> None:
        """Say why the server cannot start; of a long text the end is kept."""
        data = text.encode("utf-8", "backslashreplace")[-_FAILURE_CELLS * _CELL_BYTES :]
        at = _FAILURE * _CELL_BYTES
        self._memory[at : at + len(data)] = data
        self.cells[_FAILURE_BYTES] = len(data)  # only now, because others read

    @property
    def failure(self) -> str:
        """Why the server cannot start, or ""."""
        at = _FAILURE * _CELL_BYTES
        return self._memory[at : at + int(self.cells[_FAILURE_BYTES])].decode("utf-8", "ignore")

    def used(self) -> Iterator[int]:
        """Return the first cells of the slots that a worker has ever counted in."""
        starts = (self.start_of(slot) for slot in range(int(self.cells[TAKEN])))
        return (start for start in starts if self.cells[start + STARTED])

    def counters(self, start: int) -> KeyedCells:
        """Return the counters of the slot that starts there: keys are a name and the value of a label."""
        return KeyedCells(self._memory, self.cells, start + _COUNTER_KEYS, start + COUNTERS, COUNTER_LIMIT)

    def series(self, start: int) -> KeyedCells:
        """Return the series of requests of the slot that starts there: keys are route, method and status."""
        return KeyedCells(self._memory, self.cells, start + _SERIES_KEYS, start + SERIES, SERIES_LIMIT, SERIES_CELLS)


class KeyedCells:
    """A table of a slot whose rows of cells are found by a key, and are given out at the first use of it.

    Args:
        memory: the board's memory.
        cells: the same, as cells.
        keys: the cell that counts the keys; they follow it.
        rows: the cell where the rows begin.
        limit: number of rows.
        width: cells of a row.
    """

    def __init__(
        self, memory: mmap.mmap, cells: memoryview[float], keys: int, rows: int, limit: int, width: int = 1
    ) -> None:
        self._memory = memory
        self._cells = cells
        self._count = keys
        self._rows = rows
        self._limit = limit
        self._width = width

    def items(self) -> Iterator[tuple[Key, int]]:
        """Return the keys in use, each with the first cell of its row."""
        for number in range(int(self._cells[self._count])):
            at = self._key(number)
            text = self._memory[at : at + _KEY_CELLS * _CELL_BYTES].rstrip(b"\0").decode()
            yield tuple(text.split("\n")), self._rows + number * self._width

    def add(self, key: Key) -> int | None:
        """Give a key the next row, and return its first cell; None where no row is left or the key is too long."""
        text = "\n".join(key).encode()
        number = int(self._cells[self._count])
        if number == self._limit or len(text) > _KEY_CELLS * _CELL_BYTES:
            return None
        at = self._key(number)
        self._memory[at : at + len(text)] = text
        self._cells[self._count] = number + 1  # only now, because others read
        return self._rows + number * self._width

    def _key(self, number: int) -> int:
        """Return where a key is, in bytes."""
        return (self._count + 1 + number * _KEY_CELLS) * _CELL_BYTES
