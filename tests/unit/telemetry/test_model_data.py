"""Model data collection as the settings ask for it, without a server."""

from __future__ import annotations

import logging
import os
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from azmlinfsrv import capture
from azmlinfsrv.errors import ConfigurationError
from azmlinfsrv.identity import NO_REQUEST
from azmlinfsrv.settings import Settings
from azmlinfsrv.telemetry.model_data import ModelData, make_model_data
from azmlinfsrv.telemetry.model_record import is_sampled
from azmlinfsrv.telemetry.record_journal import Journal
from azmlinfsrv.telemetry.record_queue import RecordQueue
from tests.unit.telemetry.records import ORIGIN, answered, asked, rows_in

STOP_S = 10.0
KEY = "c2VjcmV0LXNlY3JldC1zZWNyZXQ="
CONNECTION = f"DefaultEndpointsProtocol=http;AccountName=a;AccountKey={KEY};BlobEndpoint=http://127.0.0.1:1/a;"


def collecting(folder: Path, **settings: Any) -> Settings:
    """Return settings that collect to a folder."""
    return Settings(model_data_enabled=True, model_data_folder=str(folder), **settings)


def made(settings: Settings, models: list[str] | None = None) -> ModelData:
    """Return the collection of settings that ask for one."""
    collection = make_model_data(settings, models or [])
    assert collection is not None
    return collection


class BlockedFiles:
    """A disk that hangs until the test lets it go."""

    def __init__(self) -> None:
        self.entered, self.go = threading.Event(), threading.Event()

    def write(self, lines: bytes, records: int) -> None:
        """Hang."""
        self.entered.set()
        assert self.go.wait(STOP_S)

    def due_s(self) -> float | None:
        """Return that nothing is due."""
        return None

    def finish(self) -> None:
        """Do nothing."""

    def recover(self) -> None:
        """Do nothing."""


def test_what_was_recorded_is_in_the_folder(tmp_path: Path) -> None:
    """Calls, failed ones included, are rows of a finished file after the stop, with what the settings say of them."""
    settings = collecting(tmp_path / "new" / "folder", service_name="wine", workspace_name="cellar", hostname="h")
    collection = made(settings, ["red:3", "white:1"])
    collection.start()
    collection.record(asked(request_id="A"), answered())
    collection.record(asked(request_id="B"), answered(500, b'{"message": "no"}', None))
    collection.stop(STOP_S)
    rows = rows_in(tmp_path / "new" / "folder")
    assert [(row["request_id"], row["success"], row.get("error")) for row in rows] == [
        ("A", True, None),
        ("B", False, "no"),
    ]
    assert all((row["service"], row["workspace"], row["host"]) == ("wine", "cellar", "h") for row in rows)
    assert rows[0]["models"] == ["red:3", "white:1"]
    assert (collection.written, collection.waiting, collection.dropped) == (2, 0, 0)


def test_the_sample(tmp_path: Path) -> None:
    """What is collected of a sample is decided by the id: calls and what the script collected in them go together."""
    collection = made(collecting(tmp_path, model_data_sample_rate=0.5))
    collection.start()
    ids = [f"id-{number}" for number in range(60)]
    for request_id in ids:
        capture.enter_request(request_id)
        assert collection.collect("inputs", "c", "[]", "list")
        collection.record(asked(request_id=request_id), answered())
    capture.enter_request(NO_REQUEST)
    collection.collect("start", "c", "[]", "list")
    collection.stop(STOP_S)
    wanted = {each for each in ids if is_sampled(each, 0.5)}
    assert 10 < len(wanted) < 50
    rows = rows_in(tmp_path)
    for kind in ("run", "collected"):
        found = [row["request_id"] for row in rows if row["kind"] == kind and row["request_id"] != NO_REQUEST]
        assert sorted(found) == sorted(wanted)
    assert [row["collection"] for row in rows if row["request_id"] == NO_REQUEST] == ["start"]


def test_preflights_are_no_calls(tmp_path: Path) -> None:
    """OPTIONS that the server answers is not collected; one that reached run() is."""
    collection = made(collecting(tmp_path))
    collection.start()
    collection.record(asked(method="OPTIONS", request_id="A"), answered(exec_ms=None))
    collection.record(asked(method="OPTIONS", request_id="B"), answered(exec_ms=1.0))
    collection.stop(STOP_S)
    assert [row["request_id"] for row in rows_in(tmp_path)] == ["B"]


def test_at_overload_records_are_dropped_at_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """With a disk that hangs, the memory is bounded, nobody waits, and one warning a minute says how much is lost."""
    files = BlockedFiles()
    queue = RecordQueue(1000, 100_000)
    collection = ModelData(Settings(), ORIGIN, queue, files, Journal(str(tmp_path)))
    collection.start()
    collection.record(asked(), answered())
    assert files.entered.wait(STOP_S)
    body = b"x" * 9000
    started = time.perf_counter()
    for number in range(5000):
        collection.record(asked(body, request_id=f"id-{number}"), answered())
    assert not collection.collect("inputs", "c", "x" * 9000, "list")
    assert time.perf_counter() - started < STOP_S
    assert queue.held_bytes <= 100_000
    assert 5000 - 12 < collection.dropped <= 5001
    warnings = [record for record in caplog.records if "is dropped" in record.getMessage()]
    assert len(warnings) == 1
    files.go.set()
    collection.stop(STOP_S)
    assert collection.waiting == 0


def test_recording_never_raises(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A request that cannot be recorded is logged, and nobody else notices."""
    collection = made(collecting(tmp_path))
    broken: Any = object()
    collection.record(broken, answered())
    assert "A record of model data is lost" in caplog.text


def test_a_stop_that_has_no_time(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A disk that hangs does not hold the stop; the log says what may be lost."""
    files = BlockedFiles()
    collection = ModelData(Settings(), ORIGIN, RecordQueue(10, 100_000), files, Journal(str(tmp_path)))
    collection.start()
    collection.record(asked(), answered())
    assert files.entered.wait(STOP_S)
    collection.stop(0.05)
    assert "1 records of model data may be lost: writing takes too long" in caplog.messages
    files.go.set()
    collection.stop(STOP_S)


def test_what_was_collected_before_a_fork_is_written_once(tmp_path: Path) -> None:
    """A flush before the fork writes what init() collected; the processes after it begin with nothing."""
    collection = made(collecting(tmp_path))
    collection.collect("start", "c", "[]", "list")
    collection.flush()
    assert [row["collection"] for row in rows_in(tmp_path)] == ["start"]
    collection.start()
    collection.record(asked(), answered())
    collection.stop(STOP_S)
    assert len(rows_in(tmp_path)) == 2


def test_parquet(tmp_path: Path) -> None:
    """The format of the settings is the files'."""
    collection = made(collecting(tmp_path, model_data_format="parquet"))
    collection.start()
    collection.record(asked(), answered())
    collection.stop(STOP_S)
    assert [path.suffix for path in tmp_path.iterdir()] == [".parquet"]


@pytest.mark.parametrize("settings", [Settings(), Settings(model_data_enabled=True)])
def test_nothing_is_collected_without_a_place(settings: Settings) -> None:
    """The switch alone, which is for Application Insights, collects nothing here."""
    assert make_model_data(settings, []) is None


def test_a_place_without_the_switch_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A folder without the switch collects nothing, and the log says why."""
    assert make_model_data(Settings(model_data_folder=str(tmp_path / "new")), []) is None
    assert "AML_MODEL_DC_STORAGE_ENABLED" in caplog.text
    assert not (tmp_path / "new").exists()


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    """A folder that cannot be written stops the start, with its name."""
    (tmp_path / "file").touch()
    with pytest.raises(ConfigurationError, match=r"model data cannot be written to the folder .*file"):
        make_model_data(collecting(tmp_path / "file"), [])


@pytest.mark.parametrize(
    ("settings", "module", "extra"),
    [
        ({"model_data_format": "parquet"}, "pyarrow.parquet", "parquet"),
        ({"model_data_blob_container": "c", "model_data_blob_connection": CONNECTION}, "azure.storage.blob", "blob"),
    ],
)
def test_a_missing_extra_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: dict[str, str], module: str, extra: str
) -> None:
    """A feature that is on without its extra stops the start with the line that installs it."""
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ConfigurationError) as raised:
        make_model_data(collecting(tmp_path, **settings), [])
    assert raised.value.message.endswith(f"Run: pip install 'azmlinfsrv[{extra}]'")
    assert "\n" not in raised.value.message


def test_a_container_needs_a_connection() -> None:
    """A container without a connection stops the start."""
    with pytest.raises(ConfigurationError, match="AZMLINFSRV_MODEL_DATA_BLOB_CONNECTION"):
        make_model_data(Settings(model_data_enabled=True, model_data_blob_container="c"), [])


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder for temporary files."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def to_blob(container: str = "c") -> Settings:
    """Return settings that collect to a container."""
    return Settings(model_data_enabled=True, model_data_blob_container=container, model_data_blob_connection=CONNECTION)


def test_files_wait_in_a_folder_of_the_users_own(temporary: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Without a folder, files wait for their upload where nobody else can read them, each container's apart."""
    caplog.set_level(logging.INFO)
    for container in ("c", "c", "d"):
        made(to_blob(container))
    folders = list(temporary.iterdir())
    assert len(folders) == 2
    assert all(folder.stat().st_mode & 0o777 == 0o700 for folder in folders)
    assert KEY not in caplog.text and not any(KEY in str(folder) for folder in folders)


@pytest.mark.skipif(not hasattr(os, "symlink"), reason="needs symbolic links")
def test_a_folder_of_somebody_else_is_refused(temporary: Path) -> None:
    """Where somebody has laid a link in the place of that folder, nothing is written there."""
    made(to_blob())
    (folder,) = temporary.iterdir()
    folder.rmdir()
    (temporary / "elsewhere").mkdir()
    folder.symlink_to(temporary / "elsewhere")
    with pytest.raises(ConfigurationError, match="belongs to somebody else"):
        make_model_data(to_blob(), [])
