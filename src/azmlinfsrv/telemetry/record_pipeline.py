"""From the queue to files, in a background thread: gathers, writes, retries, and gives up what cannot be kept."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

from azmlinfsrv.telemetry.record_queue import RecordQueue

logger = logging.getLogger("azmlinfsrv")

# How long records are gathered before they are written, and so what a killed process loses at the most.
GATHER_S = 0.1

# So much is written at a time; every write lets the other threads run.
_CHUNK_RECORDS = 64
_CHUNK_BYTES = 256 * 1024

_FIRST_PAUSE_S = 0.5
_LONGEST_PAUSE_S = 30.0
_STOP_PAUSE_S = 0.1
# Share of the time of a stop in which what fails is tried again; the rest is for saying what is lost.
_RETRY_SHARE = 0.8


class Files(Protocol):
    """Where lines go: see `record_files.RecordFiles`."""

    def write(self, lines: bytes, records: int) -> None:
        """Append whole lines, or raise OSError and change nothing."""

    def due_s(self) -> float | None:
        """Return after how many seconds to call `finish`."""

    def finish(self) -> None:
        """Finish the current file, or raise OSError."""

    def recover(self) -> None:
        """Finish what was left behind."""


class _Chunk(NamedTuple):
    lines: bytes
    records: int
    held_bytes: int


class RecordPipeline:
    """Takes records off a queue, makes lines of them and writes these.

    Args:
        queue: the queue.
        line: makes the line of a record.
        files: where lines go; used on the pipeline's thread only, once that is started.

    Attributes:
        written: number of records that were written.
    """

    def __init__(self, queue: RecordQueue, line: Callable[[Any], bytes], files: Files) -> None:
        self._queue = queue
        self._line = line
        self._files = files
        self._stopping = threading.Event()
        self._stop_by = 0.0
        self._pause_s = 0.0
        self._chunk: _Chunk | None = None
        self.written = 0
        self._thread = threading.Thread(target=self._run, name="model-data", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self, timeout_s: float) -> None:
        """Write what waits and finish the file within that time; what cannot be written by then is dropped."""
        self._stop_by = time.monotonic() + timeout_s * _RETRY_SHARE
        self._stopping.set()
        self._queue.wake()
        self._thread.join(timeout_s)

    def flush(self) -> None:
        """Write what waits and finish the file, on the calling thread; only before `start`."""
        try:
            self._drain()
            self._files.finish()
        except OSError as error:
            self._report(error)

    def _run(self) -> None:
        try:
            self._files.recover()
        except OSError as error:
            logger.warning("Model data that was left behind cannot be recovered: %s", error.strerror or error)
        stopping = False
        while not stopping:
            if not self._pause_s and not self._stopping.is_set():  # `stop` wakes, and a batch that is taken clears that
                self._queue.wait(self._files.due_s())
                self._stopping.wait(GATHER_S)
            stopping = self._stopping.is_set()
            try:
                self._drain()
                if stopping:
                    self._files.finish()
                self._mended()
            except OSError as error:
                self._report(error)
                stopping = self._is_over()
            except Exception:  # the border of telemetry
                logger.exception("Model data is lost")
                self._forget_chunk()
        self._give_up()

    def _drain(self) -> None:
        """Write all that waits; raises OSError where that failed."""
        while self._chunk is not None or self._next_chunk():
            self._write_chunk()
            due_s = self._files.due_s()
            if due_s is not None and due_s <= 0:
                self._files.finish()
        due_s = self._files.due_s()
        if due_s is not None and due_s <= 0:
            self._files.finish()

    def _next_chunk(self) -> bool:
        """Make lines of what has waited longest; returns False where nothing waits."""
        entries = self._queue.take(_CHUNK_RECORDS, _CHUNK_BYTES)
        if not entries:
            return False
        lines = []
        for record, _ in entries:
            try:
                lines.append(self._line(record))
            except Exception as error:  # noqa: BLE001 - the border of telemetry
                logger.warning("A record of model data is lost: %s", type(error).__name__)
        lost = len(entries) - len(lines)
        self._queue.release(lost, 0, dropped=lost)
        self._chunk = _Chunk(b"".join(lines), len(lines), sum(entry.size_bytes for entry in entries))
        return True

    def _write_chunk(self) -> None:
        chunk = self._chunk
        if chunk is None:
            return
        if chunk.records:
            self._files.write(chunk.lines, chunk.records)
        self._chunk = None
        self.written += chunk.records
        self._queue.release(chunk.records, chunk.held_bytes)

    def _report(self, error: OSError) -> None:
        if not self._pause_s:
            logger.warning("Model data cannot be written, it is tried again: %s", error.strerror or error)
        self._pause_s = min(self._pause_s * 2 or _FIRST_PAUSE_S, _LONGEST_PAUSE_S)

    def _mended(self) -> None:
        if self._pause_s:
            self._pause_s = 0.0
            logger.info("Model data is written again")

    def _is_over(self) -> bool:
        """Wait before the next try; returns True where the stop leaves no time for one."""
        if not self._stopping.wait(self._pause_s):
            return False
        time.sleep(_STOP_PAUSE_S)
        return time.monotonic() >= self._stop_by

    def _forget_chunk(self) -> None:
        if self._chunk is not None:
            self._queue.release(self._chunk.records, self._chunk.held_bytes, dropped=self._chunk.records)
            self._chunk = None

    def _give_up(self) -> None:
        """Drop what could not be written, and say so."""
        lost = self._chunk.records if self._chunk else 0
        self._forget_chunk()
        lost += self._queue.give_up()
        if lost:
            logger.warning("%d records of model data are lost: they could not be written", lost)
