"""What waits to be written outlives the process that collected it."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from azmlinfsrv.telemetry.record_files import RecordFiles, Rotation
from azmlinfsrv.telemetry.record_journal import JOURNAL, Journal, JournalledFiles

pytestmark = pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="there is no journal")

ROTATION = Rotation(1 << 20, 3600.0, 0)


class Lines:
    """Files that are a list; `error` is raised when they are written to."""

    def __init__(self) -> None:
        self.written: list[bytes] = []
        self.error: Exception | None = None
        self.finished = 0

    def write(self, lines: bytes, records: int) -> None:
        """Keep them."""
        if self.error is not None:
            raise self.error
        assert lines.count(b"\n") == records
        self.written.append(lines)

    def due_s(self) -> float | None:
        """Return that something is due."""
        return 7.0

    def finish(self) -> None:
        """Count it."""
        self.finished += 1

    def recover(self) -> None:
        """Do nothing."""


def opened(folder: Path, size_bytes: int = 1000) -> Journal:
    """Return a journal that holds lines."""
    journal = Journal(str(folder), size_bytes)
    journal.open()
    return journal


def abandon(journal: Journal) -> None:
    """Leave a journal as the end of its process does."""
    assert journal._memory is not None
    journal._memory.close()
    os.close(journal._file)


def recovered(folder: Path) -> bytes:
    """Return what the next process writes."""
    files = Lines()
    JournalledFiles(files, Journal(str(folder)), str(folder)).recover()
    assert not list(folder.glob(f"*{JOURNAL}"))
    return b"".join(files.written)


def test_what_waits_is_written_by_the_next_process(tmp_path: Path) -> None:
    """After the end of a process its lines that were not written are, in order; those that were are not again."""
    journal = opened(tmp_path)
    for line in (b"one\n", b"two\n", b"three\n"):
        journal.put(line)
    files = Lines()
    JournalledFiles(files, journal, str(tmp_path)).write(b"one\n", 1)
    abandon(journal)
    assert recovered(tmp_path) == b"two\nthree\n"


def test_a_process_that_was_killed(tmp_path: Path) -> None:
    """SIGKILL loses nothing of what was put."""
    code = (
        "import os, sys; from azmlinfsrv.telemetry.record_journal import Journal; journal = Journal(sys.argv[1]); "
        "journal.open(); [journal.put(b'%d\\n' % number) for number in range(1000)]; os.kill(os.getpid(), 9)"
    )
    assert subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False).returncode == -9
    assert recovered(tmp_path).split() == [b"%d" % number for number in range(1000)]


def test_the_journal_of_a_process_that_lives_is_left_alone(tmp_path: Path) -> None:
    """Only what nobody has open is taken up."""
    journal = opened(tmp_path)
    journal.put(b"line\n")
    files = Lines()
    JournalledFiles(files, Journal(str(tmp_path)), str(tmp_path)).recover()
    assert files.written == [] and list(tmp_path.glob(f"*{JOURNAL}"))
    journal.close()
    assert not list(tmp_path.iterdir())
    journal.put(b"more\n")  # is held in memory alone
    journal.close()


@pytest.mark.parametrize("size_bytes", [10, 13, 100])
def test_the_place_is_used_again(tmp_path: Path, size_bytes: int) -> None:
    """Lines go round in the place that there is; what does not fit waits in memory alone, and costs no other line."""
    journal = opened(tmp_path, size_bytes)
    held: list[tuple[bytes, bool]] = []
    room = size_bytes
    for number in range(300):
        line = b"%d\n" % number * (1 + number % 3)
        stored = len(line) <= room
        journal.put(line)
        held.append((line, stored))
        room -= len(line) * stored
        if number % 7 > 2:
            line, stored = held.pop(0)
            journal.release(len(line))
            room += len(line) * stored
    abandon(journal)
    assert recovered(tmp_path) == b"".join(line for line, stored in held if stored)


def test_a_line_that_is_taken_back(tmp_path: Path) -> None:
    """A line for which there was no room in the queue is not written by anybody."""
    journal = opened(tmp_path, 8)
    for line in (b"one\n", b"two\n"):
        journal.put(line)
    journal.take_back(4)
    journal.put(b"six\n")
    journal.put(b"beyond\n")
    journal.take_back(7)
    journal.release(4)
    abandon(journal)
    assert recovered(tmp_path) == b"six\n"


def test_lines_of_before_it_was_opened(tmp_path: Path) -> None:
    """What was put before is in memory alone, and its release lets none of the others go."""
    journal = Journal(str(tmp_path))
    journal.put(b"before\n")
    journal.open()
    journal.put(b"after\n")
    journal.release(7)
    abandon(journal)
    assert recovered(tmp_path) == b"after\n"


def test_lines_that_cannot_be_written(tmp_path: Path) -> None:
    """Lines that are written again later stay; those that nobody writes again are let go."""
    journal, files = opened(tmp_path), Lines()
    both = JournalledFiles(files, journal, str(tmp_path))
    journal.put(b"one\n")
    journal.put(b"two\n")
    files.error = OSError("the disk is full")
    with pytest.raises(OSError, match="full"):
        both.write(b"one\n", 1)
    files.error = ValueError("nobody knows")
    with pytest.raises(ValueError, match="knows"):
        both.write(b"one\n", 1)
    both.finish()
    assert (files.finished, both.due_s()) == (1, 7.0)
    abandon(journal)
    assert recovered(tmp_path) == b"two\n"


def test_a_disk_that_is_full_keeps_a_journal(tmp_path: Path) -> None:
    """What cannot be written by the next process stays for the one after it."""
    journal, files = opened(tmp_path), Lines()
    journal.put(b"one\n")
    abandon(journal)
    files.error = OSError("the disk is full")
    with pytest.raises(OSError, match="full"):
        JournalledFiles(files, Journal(str(tmp_path)), str(tmp_path)).recover()
    assert recovered(tmp_path) == b"one\n"


@pytest.mark.parametrize("content", [b"", b"short", b"\xff" * 100, b"\0" * 16])
def test_a_file_that_is_no_journal(tmp_path: Path, content: bytes) -> None:
    """What is left of one that was never whole is removed."""
    (tmp_path / f"1{JOURNAL}").write_bytes(content)
    assert recovered(tmp_path) == b""


def test_no_place_for_a_journal(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Where the file cannot be made this is logged, and lines wait in memory alone."""
    with caplog.at_level("INFO"):
        journal = opened(tmp_path / "missing")
        assert "memory alone" in caplog.text
        journal.put(b"line\n")
        journal.release(5)
        journal.close()
        opened(tmp_path, 1 << 60).put(b"line\n")
    assert not list(tmp_path.iterdir())


def test_a_folder_that_is_gone(tmp_path: Path) -> None:
    """Nothing can be recovered from a folder that is not there."""
    assert recovered(tmp_path / "missing") == b""


def test_many_threads(tmp_path: Path) -> None:
    """Lines that are put and let go at the same time are all there once."""
    journal = opened(tmp_path, 1 << 20)
    turns = threading.Semaphore(0)

    def put() -> None:
        """Put lines that are all of the same size."""
        for _ in range(500):
            journal.put(b"line\n")
            turns.release()

    threads = [threading.Thread(target=put) for _ in range(4)]
    for thread in threads:
        thread.start()
    for _ in range(1500):
        assert turns.acquire(timeout=15)
        journal.release(5)
    for thread in threads:
        thread.join()
    abandon(journal)
    assert recovered(tmp_path) == b"line\n" * 500


def test_it_goes_with_the_files(tmp_path: Path) -> None:
    """What is recovered is in a file of lines as any other."""
    journal = opened(tmp_path)
    journal.put(b'{"a":1}\n')
    abandon(journal)
    files = JournalledFiles(RecordFiles(str(tmp_path), ROTATION), Journal(str(tmp_path)), str(tmp_path))
    files.recover()
    files.finish()
    (path,) = tmp_path.iterdir()
    assert path.name.endswith("-1.jsonl") and path.read_bytes() == b'{"a":1}\n'
