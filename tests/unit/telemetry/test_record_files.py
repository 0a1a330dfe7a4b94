"""Files of records in a folder that several processes share."""

from __future__ import annotations

import errno
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from azmlinfsrv.errors import ConfigurationError
from azmlinfsrv.telemetry.record_files import PARTIAL, RecordFiles, Rotation, check_folder

LINE = b'{"a": 1}\n'
DAILY = Rotation(1_000_000, 86_400, 0)


class Clock:
    """Seconds since the epoch, as the test says."""

    def __init__(self) -> None:
        self.now = 1_700_000_000.0

    def __call__(self) -> float:
        """Return the time."""
        return self.now


def names(folder: Path) -> list[str]:
    """Return what is in a folder."""
    return sorted(path.name for path in folder.iterdir())


def finished(folder: Path) -> list[Path]:
    """Return the finished files, oldest first."""
    return sorted(folder.glob("*.jsonl"))


def test_a_file_has_its_name_when_it_is_whole(tmp_path: Path) -> None:
    """While it is written a file is partial; finished, it says when, where, by whom and how many."""
    files = RecordFiles(str(tmp_path), DAILY, now=Clock())
    assert names(tmp_path) == []
    files.write(LINE * 2, 2)
    files.write(LINE, 1)
    (partial,) = names(tmp_path)
    assert partial.endswith(PARTIAL)
    assert (tmp_path / partial).read_bytes() == LINE * 3
    files.finish()
    (name,) = names(tmp_path)
    assert re.fullmatch(rf"20231114T221320Z-[\w.]+-{os.getpid()}-[0-9a-f]{{8}}-3\.jsonl", name)
    assert (tmp_path / name).read_bytes() == LINE * 3
    files.finish()
    assert names(tmp_path) == [name]


def test_a_file_is_due_for_its_age_or_size(tmp_path: Path) -> None:
    """A file is due when it is old or large enough, whoever sets the clock meanwhile; without one nothing is."""
    clock, day = Clock(), Clock()
    files = RecordFiles(str(tmp_path), Rotation(20, 60, 0), now=day, clock=clock)
    assert files.due_s() is None
    files.write(LINE, 1)
    assert files.due_s() == 60
    clock.now += 45
    day.now -= 86400
    assert files.due_s() == 15
    clock.now += 45
    assert files.due_s() == 0
    files.finish()
    assert files.due_s() is None
    files.write(LINE * 3, 3)
    assert files.due_s() == 0


def test_names_never_collide(tmp_path: Path) -> None:
    """Writers of one process, in one second, have files of their own."""
    clock = Clock()
    writers = [RecordFiles(str(tmp_path), DAILY, now=clock) for _ in range(20)]
    for files in writers:
        files.write(LINE, 1)
    for files in writers:
        files.finish()
    assert len(finished(tmp_path)) == 20


def test_the_oldest_are_removed(tmp_path: Path) -> None:
    """Beyond the limit the oldest finished files go, with the number of their records; the newest stays."""
    clock, removed = Clock(), list[int]()
    files = RecordFiles(str(tmp_path), Rotation(1, 60, 3 * len(LINE)), removed=removed.append, now=clock)
    (tmp_path / "notes.txt").write_text("x" * 1000)
    for number in range(5):
        files.write(LINE * (number + 1), number + 1)
        files.finish()
        clock.now += 1
    assert [path.name.split("-")[-1] for path in finished(tmp_path)] == ["5.jsonl"]
    assert sorted(removed) == [1, 2, 3, 4]
    assert (tmp_path / "notes.txt").exists()


def test_all_files_are_kept_without_a_limit(tmp_path: Path) -> None:
    """A limit of 0 removes nothing."""
    files = RecordFiles(str(tmp_path), DAILY)
    for _ in range(3):
        files.write(LINE * 1000, 1000)
        files.finish()
    assert len(finished(tmp_path)) == 3


def test_a_failed_write_leaves_whole_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the disk is full half-way, what was written of the batch is taken back, and it can be written again."""
    files = RecordFiles(str(tmp_path), DAILY)
    files.write(LINE, 1)
    real, left = os.write, [4]

    def full(file: int, data: bytes) -> int:
        if not left[0]:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        count = min(left[0], len(data))
        left[0] -= count
        return real(file, data[:count])

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        with pytest.raises(OSError, match="No space"):
            files.write(LINE * 2, 2)
        assert next(tmp_path.iterdir()).read_bytes() == LINE
    files.write(LINE * 2, 2)
    files.finish()
    assert [path.read_bytes() for path in finished(tmp_path)] == [LINE * 3]


def test_files_that_are_written_are_left_alone(tmp_path: Path) -> None:
    """Nobody takes up a file whose writer lives, of this process or another."""
    files, other = RecordFiles(str(tmp_path), DAILY), RecordFiles(str(tmp_path), DAILY)
    files.write(LINE, 1)
    before = names(tmp_path)
    other.recover()
    assert names(tmp_path) == before
    files.write(LINE, 1)
    files.finish()
    assert finished(tmp_path)[0].read_bytes() == LINE * 2


_KILLED = """
import os, signal, sys
from azmlinfsrv.telemetry.record_files import RecordFiles, Rotation
files = RecordFiles(sys.argv[1], Rotation(1000000, 1000, 0))
files.write(b'{"a": 1}\\n' * 3 + b'{"half', 4)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_files_of_killed_processes_are_recovered(tmp_path: Path) -> None:
    """What a killed process has written becomes a finished file of its whole lines, and is announced."""
    subprocess.run([sys.executable, "-c", _KILLED, str(tmp_path)], check=False)
    assert names(tmp_path)[0].endswith(PARTIAL)
    told: list[tuple[str, int]] = []
    files = RecordFiles(str(tmp_path), DAILY, finished=lambda path, records: told.append((path, records)))
    files.recover()
    (path,) = finished(tmp_path)
    assert path.read_bytes() == LINE * 3 and path.name.endswith("-3.jsonl")
    assert told == [(str(path), 3)] == files.left_behind()
    assert names(tmp_path) == [path.name]


def test_an_empty_file_is_not_worth_recovering(tmp_path: Path) -> None:
    """A process that was killed before its first line leaves nothing."""
    (tmp_path / f"20231114T221320Z-host-1-00000000{PARTIAL}").write_bytes(b'{"half')
    RecordFiles(str(tmp_path), DAILY).recover()
    assert names(tmp_path) == []


def test_a_file_that_could_not_be_finished_is_taken_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a file cannot get its name, its lines stay, and get it with the next file."""
    files = RecordFiles(str(tmp_path), DAILY)
    files.write(LINE, 1)
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", lambda file: (_ for _ in ()).throw(OSError(errno.ENOSPC, "full")))
        with pytest.raises(OSError, match="full"):
            files.finish()
    assert [name.endswith(PARTIAL) for name in names(tmp_path)] == [True]
    files.write(LINE * 2, 2)
    files.finish()
    assert sorted(len(path.read_bytes().splitlines()) for path in finished(tmp_path)) == [1, 2]
    assert len(names(tmp_path)) == 2


def test_converted_files(tmp_path: Path) -> None:
    """A converter makes the finished file; the lines are gone once it is there."""

    def upper(lines: str, path: str) -> None:
        Path(path).write_bytes(Path(lines).read_bytes().upper())

    files = RecordFiles(str(tmp_path), DAILY, upper)
    files.write(LINE, 1)
    files.finish()
    (path,) = tmp_path.iterdir()
    assert path.suffix == ".parquet" and path.read_bytes() == LINE.upper()


def test_lines_that_cannot_be_converted_stay(tmp_path: Path) -> None:
    """A converter that fails costs no data: the file stays JSON Lines."""

    def broken(lines: str, path: str) -> None:
        raise ValueError(f"no such column: {lines} {path}")

    files = RecordFiles(str(tmp_path), DAILY, broken)
    files.write(LINE, 1)
    files.finish()
    assert [path.read_bytes() for path in finished(tmp_path)] == [LINE]


def test_a_folder_is_made_and_tried(tmp_path: Path) -> None:
    """A folder that is missing is made, and the probe leaves nothing."""
    check_folder(str(tmp_path / "a" / "b"))
    assert names(tmp_path / "a" / "b") == []


@pytest.mark.parametrize("place", ["file", "file/below"])
def test_a_folder_that_cannot_be_used_is_named(tmp_path: Path, place: str) -> None:
    """A path that is no folder is an error of the configuration that names it."""
    (tmp_path / "file").touch()
    with pytest.raises(ConfigurationError, match=re.escape(str(tmp_path / place))):
        check_folder(str(tmp_path / place))


def test_a_file_that_cannot_be_mended_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where half a batch cannot be taken back, the next goes to another file, and both are finished."""
    files = RecordFiles(str(tmp_path), DAILY)
    files.write(LINE, 1)
    real = os.write

    def half(file: int, data: bytes) -> int:
        if bytes(data) == LINE * 2:
            return real(file, data[:5])
        raise OSError(errno.ENOSPC, "full")

    def broken(file: int, length: int) -> None:
        raise OSError(errno.EINVAL, f"{file} {length}")

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", half)
        patch.setattr(os, "ftruncate", broken)
        with pytest.raises(OSError, match="full"):
            files.write(LINE * 2, 2)
    files.write(LINE * 2, 2)
    files.finish()
    assert sorted(path.read_bytes() for path in finished(tmp_path)) == [LINE, LINE * 2]
    assert len(names(tmp_path)) == 2
