"""Lines of model data as Parquet; needs pyarrow (extra ``parquet``)."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any

import orjson

from azmlinfsrv.telemetry.model_record import FIELDS

# A row group is made of that many rows or bytes of lines, so that converting a file never holds the whole of it.
_GROUP_ROWS = 2000
_GROUP_BYTES = 8 << 20


def converter() -> Callable[[str, str], None]:
    """Return `convert`.

    Raises:
        ModuleNotFoundError: pyarrow is not installed.
    """
    importlib.import_module("pyarrow.parquet")
    return convert


def convert(lines: str, path: str) -> None:
    """Write the rows of a file of lines as Parquet.

    Args:
        lines: path of the file of lines.
        path: path of the file to make; one that is there is replaced.

    Raises:
        OSError: a file cannot be read or written.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    types = {
        "text": pa.string(),
        "texts": pa.list_(pa.string()),
        "time": pa.timestamp("us", tz="UTC"),
        "integer": pa.int64(),
        "number": pa.float64(),
        "boolean": pa.bool_(),
    }
    schema = pa.schema([(name, types[kind]) for name, kind in FIELDS.items()])
    with pq.ParquetWriter(path, schema, compression="snappy") as writer:
        for group in _groups(lines):
            writer.write_table(pa.Table.from_pylist(group, schema=schema))


def _groups(path: str) -> Iterator[list[dict[str, Any]]]:
    group: list[dict[str, Any]] = []
    size = 0
    with open(path, "rb") as file:
        for line in file:
            row = orjson.loads(line)
            row["time"] = datetime.fromisoformat(row["time"].replace("Z", "+00:00"))
            group.append(row)
            size += len(line)
            if len(group) >= _GROUP_ROWS or size >= _GROUP_BYTES:
                yield group
                group, size = [], 0
    if group:
        yield group
