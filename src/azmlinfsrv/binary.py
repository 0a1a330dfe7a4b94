"""Arrays and data frames as bytes: NumPy's ``.npy``, Arrow's IPC stream, and the bare numbers.

Nothing here unpickles. Every failure to read is a `ValueError` that says what was wrong.
"""

from __future__ import annotations

import ast
import importlib
import importlib.util
import io
import math
import struct
import sys
from collections.abc import Sequence
from typing import Any

from azmlinfsrv.messages import Body

NPY = "application/x-npy"
ARROW = "application/vnd.apache.arrow.stream"
RAW = "application/octet-stream"
MEDIA_TYPES = frozenset({NPY, ARROW, RAW})

_NUMBERS = frozenset("biuf")
_MAX_HEADER_BYTES = 10_000
_JSON = "application/json"
_ANY_JSON = frozenset({"*/*", "application/*"})


def read_npy(body: Body) -> Any:
    """Return the array in a ``.npy`` file, a read-only view of the body.

    Raises:
        ValueError: it is none, is not whole, or holds something other than numbers.
    """
    import numpy as np

    dtype, by_columns, shape, start = _npy_header(body)
    count = math.prod(shape)
    if len(body) - start != count * dtype.itemsize:
        raise ValueError(f"expected {count * dtype.itemsize} bytes of numbers, got {len(body) - start}")
    array = np.frombuffer(body, dtype, count, start) if count else np.empty(0, dtype)
    return _checked(array.reshape(shape, order="F" if by_columns else "C"))


def _npy_header(body: Body) -> tuple[Any, bool, tuple[int, ...], int]:
    """Return dtype, whether the first index varies fastest, shape, and where the numbers begin.

    Source: NumPy's documents, "NumPy format" (versions 1.0, 2.0, 3.0).

    Raises:
        ValueError: there is no such header, or it is not that of an array of numbers.
    """
    import numpy as np

    if body[:6] != b"\x93NUMPY" or len(body) < 12 or body[6] not in (1, 2, 3):
        raise ValueError("not a .npy file")
    start, size = (
        (10, struct.unpack_from("<H", body, 8)[0]) if body[6] == 1 else (12, *struct.unpack_from("<I", body, 8))
    )
    if size > _MAX_HEADER_BYTES:
        raise ValueError("the header is too long")
    try:
        header = ast.literal_eval(body[start : start + size].decode("utf-8" if body[6] == 3 else "latin-1").strip())
        descr, by_columns, shape = header["descr"], header["fortran_order"], header["shape"]
        dtype = np.dtype(descr) if isinstance(descr, str) else np.dtype(object)
    except (ValueError, SyntaxError, TypeError, LookupError, MemoryError, RecursionError) as error:
        raise ValueError("the header is damaged") from error
    is_shape = type(shape) is tuple and len(shape) <= 32 and all(type(size) is int and size >= 0 for size in shape)
    if not is_shape or type(by_columns) is not bool:
        raise ValueError("the header is damaged")
    if dtype.kind not in _NUMBERS:
        raise ValueError(f"found {descr}, expected numbers")
    return dtype, by_columns, shape, start + size


def read_raw(body: Body | memoryview, dtype: Any, sizes: Sequence[int | None]) -> Any:
    """Return the array of bare numbers, little-endian and row by row, a read-only view of the body.

    Args:
        body: the numbers.
        dtype: their NumPy dtype.
        sizes: of each dimension; None for the one at the most that follows from how many numbers there are.

    Raises:
        ValueError: there are too few or too many.
    """
    import numpy as np

    unit = dtype.itemsize * math.prod(size for size in sizes if size is not None)
    if None in sizes:
        if len(body) % unit:
            raise ValueError(f"expected a multiple of {unit} bytes, got {len(body)}")
    elif len(body) != unit:
        raise ValueError(f"expected {unit} bytes, got {len(body)}")
    return _checked(
        np.frombuffer(body, dtype.newbyteorder("<")).reshape([-1 if size is None else size for size in sizes])
    )


def _checked(array: Any) -> Any:
    """Return the array, read-only whatever its body is; booleans have to be bytes of 0 and 1."""
    import numpy as np

    array.flags.writeable = False

    if array.dtype.kind == "b" and array.size and array.view(np.uint8).max() > 1:
        raise ValueError("found bytes other than 0 and 1 among booleans")
    return array


def has_arrow() -> bool:
    """Return whether pyarrow is installed; importing it takes a while."""
    return "pyarrow" in sys.modules or importlib.util.find_spec("pyarrow") is not None


def read_arrow(body: Body) -> Any:
    """Return the data frame in an Arrow IPC stream; pandas' own metadata, its index too, is left out.

    Columns of numbers, booleans, texts and times are taken. What may be far larger in memory than in the body is not:
    compressed streams, dictionaries, runs, views and nulls without a type.

    Raises:
        ValueError: it is none, is damaged, or holds something else.
    """
    pa, ipc = importlib.import_module("pyarrow"), importlib.import_module("pyarrow.ipc")
    buffer = pa.py_buffer(body)
    try:
        _check_messages(ipc.MessageReader.open_stream(buffer))
        with ipc.open_stream(buffer) as reader:
            for field in reader.schema:
                if not _is_taken(pa.types, field.type):
                    raise ValueError(f"column {field.name!r}: {field.type} is not taken")
            table = reader.read_all()
        table.validate(full=True)
    except (pa.ArrowException, OSError) as error:
        raise ValueError(str(error)) from error
    if len(set(table.column_names)) != len(table.column_names):
        raise ValueError("two columns have the same name")
    for name, column in zip(table.column_names, table.columns, strict=True):
        if pa.types.is_boolean(column.type) and column.null_count:
            raise ValueError(f"column {name!r}: a boolean is missing")
    return table.to_pandas(ignore_metadata=True)


def _is_taken(types: Any, kind: Any) -> bool:
    is_number = types.is_integer(kind) or types.is_floating(kind) or types.is_boolean(kind)
    is_time = types.is_timestamp(kind) or types.is_duration(kind)
    return bool(is_number or is_time or types.is_string(kind) or types.is_large_string(kind))


def _check_messages(messages: Any) -> None:
    """Refuse a stream that has compressed buffers or dictionaries.

    Raises:
        ValueError: it has.
    """
    for message in messages:
        if message.type not in ("schema", "record batch"):
            raise ValueError("dictionaries are not taken")
        if message.type == "record batch" and _is_compressed(bytes(message.metadata)):
            raise ValueError("compressed streams are not taken")


def _is_compressed(metadata: bytes) -> bool:
    """Return whether the header of a record batch names a compression.

    Source: Arrow columnar format, Message.fbs; FlatBuffers, "Internals". Field 2 of a Message is its header, field 3
    of a RecordBatch its compression.
    """
    try:
        message = struct.unpack_from("<I", metadata, 0)[0]
        header = _field(metadata, message, 2)
        batch = header + struct.unpack_from("<I", metadata, header)[0]
        return bool(_field(metadata, batch, 3))
    except struct.error as error:
        raise ValueError("the header of a record batch is damaged") from error


def _field(data: bytes, table: int, index: int) -> int:
    """Return where a field of a FlatBuffers table is, and 0 where it is absent."""
    vtable = table - struct.unpack_from("<i", data, table)[0]
    slot = 4 + 2 * index
    if slot >= struct.unpack_from("<H", data, vtable)[0]:
        return 0
    offset: int = struct.unpack_from("<H", data, vtable + slot)[0]
    return table + offset if offset else 0


def encode(result: Any, accept: str) -> tuple[str, bytes] | None:
    """Return media type and bytes of a result of ``run()``, and None where it is to be JSON.

    Args:
        result: what ``run()`` returned; arrays and data frames have binary forms.
        accept: the Accept header of the request (RFC 9110, 12.5.1). Only a type that it names is chosen.
    """
    wanted = _named(accept)
    if not wanted:
        return None
    numpy, pandas = sys.modules.get("numpy"), sys.modules.get("pandas")
    if numpy is not None and type(result) is numpy.ndarray and result.dtype.kind in _NUMBERS:
        for name in wanted:
            if name == NPY:
                file = io.BytesIO()
                numpy.lib.format.write_array(file, result, allow_pickle=False)
                return NPY, file.getvalue()
            if name == RAW:
                return RAW, numpy.asarray(result, result.dtype.newbyteorder("<")).tobytes()
    elif pandas is not None and type(result) is pandas.DataFrame and ARROW in wanted and has_arrow():
        written = write_arrow(result)
        return None if written is None else (ARROW, written)
    return None


def write_arrow(frame: Any) -> bytes | None:
    """Return a data frame as an Arrow IPC stream without its index, and None where Arrow cannot hold it."""
    pa, ipc = importlib.import_module("pyarrow"), importlib.import_module("pyarrow.ipc")
    try:
        table = pa.Table.from_pandas(frame, preserve_index=False)
    except (pa.ArrowException, ValueError, TypeError):
        return None
    sink = pa.BufferOutputStream()
    with ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue())


def _named(accept: str) -> list[str]:
    """Return the binary types that an Accept header names and prefers to JSON, the best first."""
    ranges = []
    for place, part in enumerate(accept.lower().split(",")):
        name, *parameters = (each.strip() for each in part.split(";"))
        ranges.append((-_quality(parameters), name in _ANY_JSON, place, name))
    wanted = []
    for quality, _, _, name in sorted(ranges):
        if name == _JSON or name in _ANY_JSON or not quality:
            break
        if name in MEDIA_TYPES:
            wanted.append(name)
    return wanted


def _quality(parameters: Sequence[str]) -> float:
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip() == "q":
            try:
                return min(max(float(value), 0.0), 1.0)
            except ValueError:
                return 0.0
    return 1.0
