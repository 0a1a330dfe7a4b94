"""Model data as Parquet."""

from __future__ import annotations

from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING

import orjson
import pyarrow.parquet as pq

from azmlinfsrv.telemetry import model_record, parquet
from azmlinfsrv.telemetry.model_record import FIELDS, CollectedRecord, RunRecord, run_record
from tests.unit.telemetry.records import ORIGIN, answered, asked

if TYPE_CHECKING:
    import pytest


def test_rows_come_back(tmp_path: Path) -> None:
    """What pyarrow reads is what the lines say, with types: times are moments, what is absent is null."""
    records: list[RunRecord | CollectedRecord] = [
        run_record(asked(b'{"a": "\xc3\xa9"}'), answered(), 1000),
        run_record(asked(b"\xff"), answered(500, b"{}", None), 1000),
        CollectedRecord(1.5, "A", "inputs", "c", "[]", "list"),
    ]
    lines = [model_record.line(record, ORIGIN) for record in records]
    (tmp_path / "lines").write_bytes(b"".join(lines))
    parquet.convert(str(tmp_path / "lines"), str(tmp_path / "x.parquet"))
    table = pq.read_table(tmp_path / "x.parquet")
    assert table.schema.names == list(FIELDS)
    rows = table.to_pylist()
    assert rows[2]["time"] == datetime(1970, 1, 1, 0, 0, 1, 500_000, tzinfo=timezone.utc)
    for row, line in zip(rows, lines, strict=True):
        expected = dict.fromkeys(FIELDS) | orjson.loads(line)
        assert {**row, "time": expected["time"]} == expected


def test_large_files_are_converted_in_groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file is never held as a whole: rows go in groups, by number and by size."""
    line = model_record.line(run_record(asked(b"x" * 1000), answered(), 2000), ORIGIN)
    (tmp_path / "lines").write_bytes(line * 250)
    monkeypatch.setattr(parquet, "_GROUP_ROWS", 100)
    parquet.convert(str(tmp_path / "lines"), str(tmp_path / "x.parquet"))
    metadata = pq.read_metadata(tmp_path / "x.parquet")
    assert (metadata.num_rows, metadata.num_row_groups) == (250, 3)
    monkeypatch.setattr(parquet, "_GROUP_BYTES", 10 * len(line))
    parquet.convert(str(tmp_path / "lines"), str(tmp_path / "x.parquet"))
    assert pq.read_metadata(tmp_path / "x.parquet").num_row_groups == 25
