"""The work that is done: what is sent, and what has to come back."""

from __future__ import annotations

import json
import random
import struct
import zlib
from collections.abc import Callable
from typing import Any, NamedTuple

JSON = "application/json"
ROWS, COLUMNS = 1000, 100
FRAME_ROWS, FRAME_COLUMNS = 1000, 20
FEATURES = 10
IMAGE_SIDE = 180


class Body(NamedTuple):
    """A request's body.

    Attributes:
        content: its bytes.
        content_type: what they are.
        expect: a pattern that is found in the answer, white space taken out.
    """

    content: bytes
    content_type: str
    expect: str


class Work(NamedTuple):
    """Something that servers are asked to do.

    Attributes:
        name: in system.toml.
        title: for people.
        setup: the work in system.toml that it is done by, where that is another.
        connections: the loads.
        value: what is sent, before it takes a form.
        expect: a pattern that is found in the answer.
    """

    name: str
    title: str
    setup: str
    connections: tuple[int, ...]
    value: Callable[[], Any]
    expect: str

    def body(self, form: str, expect: str | None = None) -> Body:
        """Return what is sent to a system that wants that form."""
        value = self.value()
        pattern = self.expect if expect is None else expect
        if isinstance(value, bytes):
            return Body(value, "application/octet-stream", pattern)
        return Body(json.dumps(FORMS[form](value), separators=(",", ":")).encode(), JSON, pattern)


def numbers(rows: int, columns: int) -> list[list[float]]:
    """Return random numbers with all their digits, always the same."""
    source = random.Random(rows * columns)  # noqa: S311 - data, not secrets
    return [[source.random() for _ in range(columns)] for _ in range(rows)]


def records(rows: int, columns: int) -> list[dict[str, float]]:
    """Return the same as records of a table."""
    names = [f"column_{number}" for number in range(columns)]
    return [dict(zip(names, row, strict=True)) for row in numbers(rows, columns)]


def picture() -> bytes:
    """Return a PNG file of about 100 kB: noise, which cannot be made smaller."""
    side = IMAGE_SIDE
    source = random.Random(side)  # noqa: S311 - data, not secrets
    lines = b"".join(b"\0" + source.randbytes(3 * side) for _ in range(side))
    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(lines)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )


def tensors(value: Any) -> dict[str, Any]:
    """Return the Open Inference Protocol's form: a tensor, or one for each column of a table."""
    if isinstance(value[0], dict):
        columns = [(name, [[row[name] for row in value]], [len(value), 1]) for name in value[0]]
    elif isinstance(value[0], list):
        columns = [("data", value, [len(value), len(value[0])])]
    else:
        columns = [("data", [value], [1, len(value)])]
    inputs = []
    for name, rows, shape in columns:
        flat = [number for row in rows for number in row]
        kind = "FP64" if isinstance(flat[0], float) else "INT64"
        inputs.append({"name": name, "shape": shape, "datatype": kind, "data": flat})
    return {"inputs": inputs}


def frames(value: Any) -> dict[str, Any]:
    """Return MLflow's form: records of a table, or a tensor."""
    is_table = isinstance(value[0], dict)
    return {"dataframe_records" if is_table else "inputs": value}


FORMS: dict[str, Callable[[Any], Any]] = {
    "data": lambda value: {"data": value},
    "v2": tensors,
    "mlflow": frames,
}
SUM = r'"sum":-?\d'
CLASS = r'"class(es)?":\[?\d'

WORKS = (
    Work("trivial", "A function that does nothing", "trivial", (1, 16, 64, 256), lambda: [1, 2, 3], '"ok":1'),
    Work("numpy", "NumPy, 1000 by 100, 2 MB of JSON", "numpy", (1, 4), lambda: numbers(ROWS, COLUMNS), SUM),
    Work("row", "NumPy, one row of 10", "numpy", (16,), lambda: numbers(1, FEATURES), SUM),
    Work("pandas", "pandas, 1000 by 20", "pandas", (1, 4), lambda: records(FRAME_ROWS, FRAME_COLUMNS), SUM),
    Work("forest", "Random forest, a row a request", "forest", (64,), lambda: numbers(1, FEATURES), CLASS),
    Work("batched", "Random forest, in batches", "batched", (64,), lambda: numbers(1, FEATURES), CLASS),
    Work("onnx", "A small ONNX model, a row a request", "onnx", (16,), lambda: numbers(1, FEATURES), CLASS),
    Work("image", "An image of 100 kB", "image", (16,), picture, f'"width":{IMAGE_SIDE}'),
    Work("stream", "A stream of 100 chunks", "stream", (16,), lambda: [1, 2, 3], "chunk99"),
)
