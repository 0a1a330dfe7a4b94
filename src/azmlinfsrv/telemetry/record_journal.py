"""Lines that wait to be written, in memory that outlives the process: a file that is mapped, beside those of lines.

A line is put there when it is made, which takes no call of the system; the next process that starts with the folder
writes what one that was killed had not written yet. A kill between the writing of lines and the note that they were
written leaves these lines twice.
"""

from __future__ import annotations

import contextlib
import logging
import mmap
import os
import struct
import sys
import threading
from collections import deque
from collections.abc import Iterator
from typing import NamedTuple

from azmlinfsrv.telemetry.record_pipeline import Files

if sys.platform != "win32":
    import fcntl

logger = logging.getLogger("azmlinfsrv")

JOURNAL = ".journal"
# Lines beyond it wait in memory alone: it holds more than is collected while lines are gathered.
SIZE_BYTES = 4 << 20
# Where the first line that waits begins, and where the last one ends; both only grow, until nothing waits.
_HEADER = struct.Struct("=QQ")


class _Run(NamedTuple):
    """Lines that follow each other: how long they are, and whether they are in the journal."""

    size_bytes: int
    stored: bool


class Journal:
    """Holds the lines of one process that wait, as far as there is room, in the order in which they will be written.

    Args:
        folder: where its file is made, by `open`; before that, nothing is held.
        size_bytes: how much there is room for.
    """

    def __init__(self, folder: str, size_bytes: int = SIZE_BYTES) -> None:
        self._folder = folder
        self._size = size_bytes
        self._lock = threading.Lock()
        self._memory: mmap.mmap | None = None
        self._path = ""
        self._file = -1
        self._runs: deque[_Run] = deque()
        self._begin = self._end = 0

    def open(self) -> None:
        """Make the file; where the system or the disk does not let it, lines wait in memory alone."""
        if sys.platform in ("win32", "darwin"):
            return  # neither keeps room on the disk for a file: a full disk would end the process
        while not self._is_made():
            pass  # another process took it for one that was left behind

    def put(self, line: bytes) -> None:
        """Hold a line behind the others; called on any thread, never waits for a disk."""
        with self._lock:
            stored = self._memory is not None and self._end - self._begin + len(line) <= self._size
            if stored:
                self._store(line)
            if self._runs and self._runs[-1].stored == stored:
                self._runs[-1] = _Run(self._runs[-1].size_bytes + len(line), stored)
            else:
                self._runs.append(_Run(len(line), stored))

    def take_back(self, size_bytes: int) -> None:
        """Forget the line that was put last, which nobody will write."""
        with self._lock:
            run = self._runs.pop()
            if run.stored:
                self._end -= size_bytes
            if run.size_bytes > size_bytes:
                self._runs.append(_Run(run.size_bytes - size_bytes, run.stored))
            self._note()

    def release(self, size_bytes: int) -> None:
        """Let the first lines go, which have been written or given up."""
        with self._lock:
            while size_bytes and self._runs:
                run = self._runs.popleft()
                step = min(size_bytes, run.size_bytes)
                size_bytes -= step
                if run.stored:
                    self._begin += step
                if step < run.size_bytes:
                    self._runs.appendleft(_Run(run.size_bytes - step, run.stored))
            if self._begin == self._end:
                self._begin = self._end = 0  # the same pages again
            self._note()

    def close(self) -> None:
        """Remove the file; nothing is held from now on."""
        with self._lock:
            if self._memory is None:
                return
            self._memory.close()
            self._memory = None
            with contextlib.suppress(OSError):
                os.unlink(self._path)
            os.close(self._file)

    def _is_made(self) -> bool:
        """Make the file, or give it up; returns False where another process removed it meanwhile."""
        path = os.path.join(self._folder, f"{os.getpid()}-{os.urandom(8).hex()}{JOURNAL}")
        file = -1
        try:
            file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
            fcntl.flock(file, fcntl.LOCK_EX)
            if not os.fstat(file).st_nlink:
                os.close(file)
                return False
            os.posix_fallocate(file, 0, _HEADER.size + self._size)
            memory = mmap.mmap(file, _HEADER.size + self._size)
        except OSError as error:
            logger.info("What is collected waits in memory alone: %s", error.strerror)
            if file >= 0:
                os.close(file)
                os.unlink(path)
            return True
        with self._lock:
            self._file, self._path, self._memory = file, path, memory
        return True

    def _store(self, line: bytes) -> None:
        memory = self._memory
        assert memory is not None  # noqa: S101 - `put` has looked
        at = self._end % self._size
        first = line[: self._size - at]
        memory[_HEADER.size + at : _HEADER.size + at + len(first)] = first
        rest = line[len(first) :]
        memory[_HEADER.size : _HEADER.size + len(rest)] = rest
        self._end += len(line)
        self._note()

    def _note(self) -> None:
        if self._memory is not None:
            # In one piece: a kill between two would have lines that were written be written again.
            self._memory[: _HEADER.size] = _HEADER.pack(self._begin, self._end)


class JournalledFiles:
    """Writes lines to files, and lets the journal know; takes up the journals of those that were killed.

    Args:
        files: the files; used on one thread.
        journal: holds the lines until they are written.
        folder: where journals are.
    """

    def __init__(self, files: Files, journal: Journal, folder: str) -> None:
        self._files = files
        self._journal = journal
        self._folder = folder

    def write(self, lines: bytes, records: int) -> None:
        """Append whole lines, or raise OSError and change nothing."""
        try:
            self._files.write(lines, records)
        except OSError:
            raise  # they are written again
        except Exception:
            self._journal.release(len(lines))
            raise
        self._journal.release(len(lines))

    def due_s(self) -> float | None:
        """Return after how many seconds to call `finish`."""
        return self._files.due_s()

    def finish(self) -> None:
        """Finish the current file, or raise OSError."""
        self._files.finish()

    def recover(self) -> None:
        """Write what those had collected that were killed, and finish the files that they left.

        Raises:
            OSError: lines could not be written; they stay in their journal for the next process that starts.
        """
        self._files.recover()
        for path in _journals(self._folder):
            with _held(path) as lines:
                if lines:
                    self._files.write(lines, lines.count(b"\n"))
                    logger.info("Recovered %d records of model data that had not been written", lines.count(b"\n"))


def _journals(folder: str) -> list[str]:
    try:
        return [os.path.join(folder, name) for name in sorted(os.listdir(folder)) if name.endswith(JOURNAL)]
    except FileNotFoundError:
        return []


@contextlib.contextmanager
def _held(path: str) -> Iterator[bytes]:
    """Give the lines of a journal whose process has ended, and remove it afterwards; none of one that is in use."""
    try:
        file = os.open(path, os.O_RDWR)
    except OSError:
        yield b""  # another process was quicker, or it belongs to another user
        return
    try:
        if _is_free(file):
            yield _lines_of(file)
            os.unlink(path)
        else:
            yield b""
    finally:
        os.close(file)


def _is_free(file: int) -> bool:
    """Lock a journal; returns False where its process lives, or another one has taken it up."""
    if sys.platform == "win32":
        return False
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return bool(os.fstat(file).st_nlink)


def _lines_of(file: int) -> bytes:
    """Return the lines that wait in a journal; none where it is not one."""
    header = os.pread(file, _HEADER.size, 0)
    size = os.fstat(file).st_size - _HEADER.size
    if len(header) < _HEADER.size or size <= 0:
        return b""
    begin, end = _HEADER.unpack(header)
    if not 0 <= end - begin <= size:
        return b""
    first, last = begin % size, end % size
    ring = os.pread(file, size, _HEADER.size)
    data = ring[first:last] if first <= last and end - begin < size else ring[first:] + ring[:last]
    return data[: data.rfind(b"\n") + 1]
