"""Files of lines in a folder: rotated by size and age, whole once they have their name, the oldest removed.

A file is written as ``….jsonl.partial`` and renamed when it is finished. Its writer holds a lock on it, so that what a
process left behind that was killed can be told from what is being written, and is finished by the next one.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import socket
import sys
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

from azmlinfsrv.errors import ConfigurationError

if sys.platform != "win32":
    import fcntl

logger = logging.getLogger("azmlinfsrv")

PARTIAL = ".jsonl.partial"

_FINISHED = re.compile(r"\d{8}T\d{6}Z-[\w.-]+-(\d+)\.(jsonl|parquet)\Z")
_READ_BYTES = 1 << 20

# Makes the finished file from the partial one, under a temporary name: (path of the lines, path to make).
Convert = Callable[[str, str], None]


class Rotation(NamedTuple):
    """When files are finished and removed.

    Attributes:
        file_bytes: size at which a file is finished.
        file_s: age at which it is.
        keep_bytes: size of all finished files together beyond which the oldest are removed; 0 is never.
    """

    file_bytes: int
    file_s: float
    keep_bytes: int


def check_folder(folder: str) -> None:
    """Make the folder where it is missing, and try to write to it.

    Raises:
        ConfigurationError: that is not possible.
    """
    probe = os.path.join(folder, f".{os.getpid()}-{os.urandom(4).hex()}.probe")
    try:
        os.makedirs(folder, exist_ok=True)
        with open(probe, "xb"):
            pass
        os.unlink(probe)
    except OSError as error:
        message = f"model data cannot be written to the folder {folder!r}: {error.strerror or error}"
        raise ConfigurationError(message) from error


class RecordFiles:
    """Appends lines to a file of its own in a folder that may be shared; used on one thread.

    Args:
        folder: the folder, which exists.
        rotation: when files are finished and removed.
        convert: makes Parquet from lines, or None to keep the lines.
        finished: gets the path and the number of records of each finished file.
        removed: gets the number of records of each file that is removed.
        now: seconds since the epoch, for the names of files.
        clock: seconds of a clock that nobody sets, for their age.

    Attributes:
        folder: the folder.
    """

    def __init__(
        self,
        folder: str,
        rotation: Rotation,
        convert: Convert | None = None,
        finished: Callable[[str, int], None] = lambda path, records: None,
        removed: Callable[[int], None] = lambda records: None,
        now: Callable[[], float] = time.time,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.folder = folder
        self._rotation = rotation
        self._convert = convert
        self._on_finished = finished
        self._on_removed = removed
        self._now = now
        self._clock = clock
        self._host = re.sub(r"[^\w.]+", "_", socket.gethostname(), flags=re.ASCII) or "host"
        self._file = -1
        self._stem = ""
        self._size = 0
        self._records = 0
        self._opened = 0.0
        self._left = False

    def write(self, lines: bytes, records: int) -> None:
        """Append whole lines; they are the system's when this returns, and survive the end of the process.

        Raises:
            OSError: they could not be written; the file is as before, and the call may be repeated.
        """
        if self._file < 0:
            self._open()
        try:
            left = memoryview(lines)
            while left:
                left = left[os.write(self._file, left) :]
        except OSError:
            self._take_back()
            raise
        self._size += len(lines)
        self._records += records

    def _take_back(self) -> None:
        """Cut the file after its last whole batch; where that is not possible, begin another one."""
        try:
            os.ftruncate(self._file, self._size)
        except OSError:
            os.close(self._file)
            self._file, self._left = -1, True

    def due_s(self) -> float | None:
        """Return after how many seconds the file must be finished, for its size or age; None while there is none."""
        if self._file < 0:
            return None
        if self._size >= self._rotation.file_bytes:
            return 0.0
        return max(0.0, self._opened + self._rotation.file_s - self._clock())

    def finish(self) -> None:
        """Give the file its name, where there is one, and remove the oldest.

        Raises:
            OSError: that failed; the lines stay in the partial file, which is taken up when the next one is finished.
        """
        if self._file < 0:
            return
        file, stem, records = self._file, self._stem, self._records
        self._file = -1
        try:
            os.fsync(file)
            self._name(stem, records)
        except OSError:
            self._left = True
            raise
        finally:
            os.close(file)  # and unlocks it: only now may others take it up
        if self._left:
            self.recover()

    def recover(self) -> None:
        """Finish the files of processes that ended before they could; those that are being written are left alone."""
        if sys.platform == "win32":
            return
        self._left = False
        for name in sorted(_names(self.folder)):
            if name.endswith(PARTIAL):
                path = os.path.join(self.folder, name)
                try:
                    with _locked(path) as file:
                        if file is not None:
                            self._finish_left(file, path)
                except OSError as error:
                    self._left = True
                    logger.warning("Model data in %s cannot be recovered: %s", path, error.strerror)

    def left_behind(self) -> list[tuple[str, int]]:
        """Return the finished files of the folder and their numbers of records, oldest first."""
        found = ((name, _FINISHED.match(name)) for name in sorted(_names(self.folder)))
        return [(os.path.join(self.folder, name), int(match[1])) for name, match in found if match]

    def _open(self) -> None:
        while True:
            moment = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(self._now()))
            stem = os.path.join(self.folder, f"{moment}-{self._host}-{os.getpid()}-{os.urandom(4).hex()}")
            file = os.open(stem + PARTIAL, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o666)
            if _lock(file) and os.fstat(file).st_nlink:
                break
            os.close(file)  # another process took it for one that was left behind
        self._file, self._stem = file, stem
        self._size = self._records = 0
        self._opened = self._clock()

    def _name(self, stem: str, records: int) -> None:
        partial = stem + PARTIAL
        path = f"{stem}-{records}.parquet"
        if self._convert is not None and self._converted(self._convert, partial, f"{stem}.parquet.tmp"):
            os.replace(f"{stem}.parquet.tmp", path)
            os.unlink(partial)
        else:
            path = f"{stem}-{records}.jsonl"
            os.replace(partial, path)
        self._on_finished(path, records)
        self._remove_oldest()

    def _converted(self, convert: Convert, partial: str, path: str) -> bool:
        """Convert a file; returns False where its lines cannot be, and stay what they are."""
        try:
            convert(partial, path)
        except OSError:
            with contextlib.suppress(OSError):
                os.unlink(path)
            raise
        except Exception as error:  # noqa: BLE001 - the border of telemetry
            logger.warning("Model data in %s stays JSON Lines: %s", partial, type(error).__name__)
            return False
        return True

    def _finish_left(self, file: int, path: str) -> None:
        records, end = _whole_lines(file)
        os.ftruncate(file, end)
        if records:
            self._name(path.removesuffix(PARTIAL), records)
            logger.info("Recovered %d records of model data in %s", records, path)
        else:
            os.unlink(path)

    def _remove_oldest(self) -> None:
        if not self._rotation.keep_bytes:
            return
        total = 0
        for number, (path, records) in enumerate(reversed(self.left_behind())):
            try:
                total += os.path.getsize(path)
                if number and total > self._rotation.keep_bytes:
                    os.unlink(path)
                    self._on_removed(records)
            except FileNotFoundError:
                continue  # another worker was quicker


def _names(folder: str) -> list[str]:
    try:
        return os.listdir(folder)
    except FileNotFoundError:
        return []


def _lock(file: int) -> bool:
    """Lock a file for as long as it is open; returns False where another process has it."""
    if sys.platform == "win32":
        return True
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True  # a file system without locks: there, `_locked` fails as well, and nothing is recovered
    return True


@contextlib.contextmanager
def _locked(path: str) -> Iterator[int | None]:
    """Give the descriptor of a file that nobody writes to, locked, or None where somebody does or it is gone."""
    try:
        file = os.open(path, os.O_RDWR)
    except FileNotFoundError:
        yield None
        return
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield file if os.path.exists(path) and os.path.samestat(os.stat(path), os.fstat(file)) else None
    except BlockingIOError:
        yield None
    finally:
        os.close(file)


def _whole_lines(file: int) -> tuple[int, int]:
    """Return the number of whole lines of a file, and where the last one ends."""
    count = end = offset = 0
    while block := os.pread(file, _READ_BYTES, offset):
        lines = block.count(b"\n")
        if lines:
            count, end = count + lines, offset + block.rindex(b"\n") + 1
        offset += len(block)
    return count, end
