"""The thread between the queue and the files."""

from __future__ import annotations

import errno
import logging
import threading
from collections.abc import Iterator

import pytest

from azmlinfsrv.telemetry import record_pipeline
from azmlinfsrv.telemetry.record_pipeline import RecordPipeline
from azmlinfsrv.telemetry.record_queue import RecordQueue

WAIT_S = 10


class FakeFiles:
    """Keeps lines in memory; fails or blocks as the test says."""

    def __init__(self) -> None:
        self.lines: list[bytes] = []
        self.finished = 0
        self.recovered = 0
        self.failures = 0
        self.finish_failures = 0
        self.due: float | None = None
        self.entered, self.go = threading.Event(), threading.Event()
        self.go.set()

    def write(self, lines: bytes, records: int) -> None:
        """See `Files.write`."""
        self.entered.set()
        assert self.go.wait(WAIT_S)
        if self.failures:
            self.failures -= 1
            raise OSError(errno.ENOSPC, "disk full")
        assert lines.count(b"\n") == records
        self.lines += lines.splitlines()

    def due_s(self) -> float | None:
        """See `Files.due_s`."""
        return self.due

    def finish(self) -> None:
        """See `Files.finish`."""
        self.due = None
        if self.finish_failures:
            self.finish_failures -= 1
            raise OSError(errno.ENOSPC, "disk full")
        self.finished += 1

    def recover(self) -> None:
        """See `Files.recover`."""
        self.recovered += 1


def line(record: object) -> bytes:
    """Return a line; `ValueError` for what cannot be one."""
    if record == "bad":
        raise ValueError(record)
    return f"{record}\n".encode()


@pytest.fixture
def files() -> FakeFiles:
    """Where lines go."""
    return FakeFiles()


@pytest.fixture
def queue() -> RecordQueue:
    """A queue with room for 100 records of 10 bytes."""
    return RecordQueue(100, 1000)


@pytest.fixture
def pipeline(files: FakeFiles, queue: RecordQueue) -> Iterator[RecordPipeline]:
    """A pipeline, started; stopped after the test."""
    pipeline = RecordPipeline(queue, line, files)
    pipeline.start()
    yield pipeline
    files.go.set()
    pipeline.stop(WAIT_S)
    assert not pipeline._thread.is_alive()


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pauses that a test can wait for."""
    monkeypatch.setattr(record_pipeline, "_FIRST_PAUSE_S", 0.01)
    monkeypatch.setattr(record_pipeline, "_STOP_PAUSE_S", 0.01)


def test_a_stop_writes_all_that_was_put(files: FakeFiles, queue: RecordQueue, pipeline: RecordPipeline) -> None:
    """Nothing that was put before the stop is lost, and the file is finished."""
    for number in range(100):
        assert queue.put(number, 10)
    pipeline.stop(WAIT_S)
    assert files.lines == [str(number).encode() for number in range(100)]
    assert (files.recovered, files.finished, pipeline.written) == (1, 1, 100)
    assert (queue.held_records, queue.held_bytes, queue.dropped) == (0, 0, 0)


def test_records_are_written_without_a_stop(files: FakeFiles, queue: RecordQueue, pipeline: RecordPipeline) -> None:
    """A record is written soon after it was put."""
    queue.put("a", 10)
    assert files.entered.wait(WAIT_S)
    while not pipeline.written:
        pipeline._thread.join(0.01)
    assert files.lines == [b"a"]


def test_a_writer_that_blocks_costs_bounded_memory(
    files: FakeFiles, queue: RecordQueue, pipeline: RecordPipeline
) -> None:
    """With a disk that hangs, what does not fit is dropped and counted; the rest is written once it is back."""
    files.go.clear()
    queue.put("first", 10)
    assert files.entered.wait(WAIT_S)
    taken = [queue.put(number, 10) for number in range(10_000)].count(True)
    assert taken == 99
    assert (queue.held_records, queue.held_bytes, queue.dropped) == (100, 1000, 9901)
    files.go.set()
    pipeline.stop(WAIT_S)
    assert len(files.lines) == 100


def test_a_stop_during_a_write(files: FakeFiles, queue: RecordQueue, pipeline: RecordPipeline) -> None:
    """A stop that comes while a batch is written is not missed: the file is finished."""
    files.go.clear()
    queue.put("first", 10)
    assert files.entered.wait(WAIT_S)
    stopper = threading.Thread(target=pipeline.stop, args=(WAIT_S,))
    stopper.start()
    assert pipeline._stopping.wait(WAIT_S)
    files.go.set()
    pipeline._thread.join(WAIT_S / 2)
    assert not pipeline._thread.is_alive()
    stopper.join()
    assert files.finished == 1


def test_a_failed_write_is_repeated(
    files: FakeFiles, queue: RecordQueue, pipeline: RecordPipeline, caplog: pytest.LogCaptureFixture
) -> None:
    """A write that fails is tried again until it succeeds: every line is there once, and two log lines say so."""
    files.failures = 3
    with caplog.at_level(logging.INFO):
        for number in range(50):
            queue.put(number, 10)
        while files.failures:
            files.entered.clear()
            assert files.entered.wait(WAIT_S)
        pipeline.stop(WAIT_S)
    assert files.lines == [str(number).encode() for number in range(50)]
    said = [record.getMessage() for record in caplog.records]
    assert said.count("Model data cannot be written, it is tried again: disk full") == 1
    assert said.count("Model data is written again") == 1
    assert queue.dropped == 0


def test_a_stop_gives_up_in_time(files: FakeFiles, queue: RecordQueue, caplog: pytest.LogCaptureFixture) -> None:
    """With a disk that stays full, the stop ends in its time; what is lost is counted and told."""
    pipeline = RecordPipeline(queue, line, files)
    files.failures = 1_000_000
    for number in range(100):
        queue.put(number, 10)
    pipeline.start()
    assert files.entered.wait(WAIT_S)
    pipeline.stop(0.2)
    pipeline._thread.join(WAIT_S)
    assert (queue.held_records, queue.held_bytes, queue.dropped) == (0, 0, 100)
    assert "100 records of model data are lost: they could not be written" in caplog.messages


def test_a_record_that_has_no_line(files: FakeFiles, queue: RecordQueue, pipeline: RecordPipeline) -> None:
    """A record of which no line can be made is counted, and costs no other its line."""
    for record in ("a", "bad", "b"):
        queue.put(record, 10)
    pipeline.stop(WAIT_S)
    assert files.lines == [b"a", b"b"]
    assert (queue.held_records, queue.held_bytes, queue.dropped) == (0, 0, 1)


def test_a_folder_that_cannot_be_listed_ends_nothing(
    files: FakeFiles, queue: RecordQueue, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where what was left behind cannot be looked for, the log says so, and records are written."""

    def fail() -> None:
        raise OSError(errno.EMFILE, "no descriptor is left")

    monkeypatch.setattr(files, "recover", fail)
    pipeline = RecordPipeline(queue, line, files)
    pipeline.start()
    queue.put("a", 10)
    pipeline.stop(WAIT_S)
    assert files.lines == [b"a"]
    assert "Model data that was left behind cannot be recovered: no descriptor is left" in caplog.messages


def test_a_defect_of_the_writer_ends_nothing(
    files: FakeFiles, queue: RecordQueue, pipeline: RecordPipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever a write raises, its records are counted as lost and the next are written."""
    with monkeypatch.context() as patch:
        patch.setattr(files, "write", lambda lines, records: 1 / 0)
        queue.put("a", 10)
        while not queue.dropped:
            pipeline._thread.join(0.01)
    queue.put("b", 10)
    pipeline.stop(WAIT_S)
    assert files.lines == [b"b"]
    assert (queue.held_records, queue.dropped) == (0, 1)


def test_a_file_is_finished_when_it_is_due(files: FakeFiles, queue: RecordQueue, pipeline: RecordPipeline) -> None:
    """A file that is due is finished, whether or not there are more records."""
    files.due = 0.0
    queue.wake()
    while not files.finished:
        pipeline._thread.join(0.01)
    assert files.due is None


def test_a_finish_that_fails_is_reported(
    files: FakeFiles, queue: RecordQueue, pipeline: RecordPipeline, caplog: pytest.LogCaptureFixture
) -> None:
    """A file that cannot be finished costs no line and does not end the thread."""
    files.finish_failures, files.due = 1, 0.0
    queue.put("a", 10)
    while files.finish_failures:
        pipeline._thread.join(0.01)
    queue.put("b", 10)
    pipeline.stop(WAIT_S)
    assert files.lines == [b"a", b"b"]
    assert "Model data cannot be written, it is tried again: disk full" in caplog.messages


def test_a_flush_needs_no_thread(files: FakeFiles, queue: RecordQueue) -> None:
    """What waits can be written on the calling thread, before the pipeline starts; failing, it waits on."""
    pipeline = RecordPipeline(queue, line, files)
    files.failures = 1
    queue.put("a", 10)
    pipeline.flush()
    assert (files.lines, queue.held_records) == ([], 1)
    pipeline.flush()
    assert (files.lines, files.finished, queue.held_records) == ([b"a"], 1, 0)
