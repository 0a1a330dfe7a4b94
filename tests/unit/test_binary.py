"""Arrays and frames as bytes, both ways."""

from __future__ import annotations

import contextlib
import io
import pickle
import struct
import sys
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import ipc

from azmlinfsrv import binary
from azmlinfsrv.binary import ARROW, NPY, RAW, encode, read_arrow, read_npy, read_raw

properties = settings(deadline=None, max_examples=200)
ARRAY = np.array([[1.5, -2.0, np.nan], [np.inf, 0.0, 5e-324]])
FRAME = pd.DataFrame({"age": [1.5, 2.5], "count": [1, 2], "name": ["a", "é"], "ok": [True, False]})


def npy(array: Any, version: tuple[int, int] | None = None, allow_pickle: bool = False) -> bytes:
    """Return an array as a file."""
    file = io.BytesIO()
    np.lib.format.write_array(file, array, version, allow_pickle)
    return file.getvalue()


def stream(table: Any, **options: Any) -> bytes:
    """Return an Arrow table as a stream."""
    sink = pa.BufferOutputStream()
    with ipc.new_stream(sink, table.schema, options=ipc.IpcWriteOptions(**options)) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue())


def is_view(array: Any, body: bytes) -> bool:
    """Return whether an array lies within a body."""
    whole = np.frombuffer(body, np.uint8)
    return bool(np.shares_memory(array, whole)) and not array.flags.writeable


# -- .npy --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", [(1, 0), (2, 0), (3, 0)])
@pytest.mark.parametrize(
    "array",
    [
        ARRAY,
        ARRAY.T,
        np.asfortranarray(ARRAY),
        ARRAY.astype(">f4"),
        np.array(1.5),
        np.zeros((0, 3)),
        np.arange(24, dtype="uint16").reshape(2, 3, 4),
        np.array([True, False]),
    ],
    ids=repr,
)
def test_a_npy_file_is_read_where_it_lies(array: Any, version: tuple[int, int]) -> None:
    """An array has its values, type and shape again, and its numbers are those of the body, not copies."""
    body = npy(array, version)
    found = read_npy(body)
    np.testing.assert_array_equal(found, array)
    assert found.dtype == array.dtype
    assert not array.size or is_view(found, body)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "not a .npy file"),
        (b"text", "not a .npy file"),
        (npy(ARRAY)[:-1], "expected 48 bytes of numbers, got 47"),
        (npy(ARRAY) + b"\0", "expected 48 bytes of numbers, got 49"),
        (npy(ARRAY)[:40], "header is damaged"),
        (npy(np.array([{"a": 1}]), allow_pickle=True), "found .O, expected numbers"),
        (pickle.dumps(ARRAY), "not a .npy file"),
        (npy(np.array(["text"])), "expected numbers"),
        (npy(np.array([(1, 2.5)], dtype=[("a", "i4"), ("b", "f4")])), "expected numbers"),
        (npy(np.array([1j])), "expected numbers"),
        (npy(np.array(["2020-01-01"], dtype="datetime64[D]")), "expected numbers"),
        (npy(ARRAY).replace(b"(2, 3)", b"(2,-3)"), "header is damaged"),
        (npy(ARRAY).replace(b"(2, 3)", b"(9**9)"), "header is damaged"),
        (npy(ARRAY)[:6] + b"\x09\x00" + npy(ARRAY)[8:], "not a .npy file"),
        (npy(np.array([True]))[:-1] + b"\x02", "0 and 1 among booleans"),
    ],
)
def test_bad_npy_files(body: bytes, reason: str) -> None:
    """A file that is damaged, or holds something other than numbers, is refused; nothing is unpickled."""
    with pytest.raises(ValueError, match=reason):
        read_npy(body)


@properties
@given(st.binary(max_size=200), st.integers(0, 150))
def test_no_bytes_break_the_reader(junk: bytes, at: int) -> None:
    """Whatever is in a file, it is read or refused."""
    whole = npy(ARRAY)
    for body in (junk, whole[:at] + junk + whole[at + len(junk) :], b"\x93NUMPY\x01\x00" + junk):
        try:
            found = read_npy(body)
        except ValueError:
            continue
        assert found.nbytes <= len(body)


# -- Bare numbers ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("dtype", "sizes", "shape"),
    [("float64", [None, 3], (2, 3)), ("float32", [2, None], (2, 6)), ("uint8", [6, 8], (6, 8)), (">i4", [None], (12,))],
)
def test_numbers_are_read_where_they_lie(dtype: str, sizes: list[int | None], shape: tuple[int, ...]) -> None:
    """Bare numbers are little-endian, row by row, in the shape that is known but for one size at the most."""
    body = bytes(range(48))
    found = read_raw(body, np.dtype(dtype), sizes)
    assert found.shape == shape and is_view(found, body)
    assert found.tobytes() == body and found.dtype == np.dtype(dtype).newbyteorder("<")


def test_a_single_number() -> None:
    """An array without dimensions is one number."""
    assert read_raw(struct.pack("<d", 2.5), np.dtype("f8"), []) == 2.5


@pytest.mark.parametrize(
    ("body", "dtype", "sizes", "reason"),
    [
        (b"123", "float64", [None], "expected a multiple of 8 bytes, got 3"),
        (b"12345678", "float64", [None, 2], "expected a multiple of 16 bytes, got 8"),
        (b"12345678", "float64", [2], "expected 16 bytes, got 8"),
        (b"\x01\x02", "bool", [None], "0 and 1 among booleans"),
    ],
)
def test_bad_numbers(body: bytes, dtype: str, sizes: list[int | None], reason: str) -> None:
    """Too few or too many bytes are refused."""
    with pytest.raises(ValueError, match=reason):
        read_raw(body, np.dtype(dtype), sizes)


# -- Arrow -------------------------------------------------------------------------------------------------------------


def test_a_frame_is_read() -> None:
    """A frame has its columns, types and values again; an index that pandas wrote down is left out."""
    table = pa.Table.from_pandas(FRAME.set_axis([5, 7]), preserve_index=False)
    pd.testing.assert_frame_equal(read_arrow(stream(table)), FRAME)


def test_batches_are_one_frame() -> None:
    """A stream of several record batches, or of none, is one frame."""
    table = pa.table({"a": list(range(10))})
    sink = pa.BufferOutputStream()
    with ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=3)
    assert read_arrow(bytes(sink.getvalue()))["a"].tolist() == list(range(10))
    assert read_arrow(stream(table.slice(0, 0))).empty


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", None),
        (b"text", None),
        (stream(pa.table({"a": [1.5] * 100}))[:-200], None),
        (stream(pa.table({"a": [1.5] * 9999}), compression="zstd"), "compressed"),
        (stream(pa.table({"a": [1.5] * 9999}), compression="lz4"), "compressed"),
        (stream(pa.table({"a": pa.array(["x"] * 9).dictionary_encode()})), "dictionar"),
        (stream(pa.table({"a": pa.nulls(9)})), "null is not taken"),
        (stream(pa.table({"a": [[1]]})), "list.* is not taken"),
        (stream(pa.table({"a": [{"b": 1}]})), "struct.* is not taken"),
        (stream(pa.table({"a": pa.array(["x"], pa.string_view())})), "string_view is not taken"),
        (stream(pa.table({"a": pa.array([b"x"])})), "binary is not taken"),
        (stream(pa.table({"a": [True, None]})), "a boolean is missing"),
        (stream(pa.Table.from_arrays([pa.array([1]), pa.array([2])], ["a", "a"])), "the same name"),
    ],
)
def test_bad_streams(body: bytes, reason: str | None) -> None:
    """Streams that are damaged, or could be far larger in memory than in the body, are refused with the reason."""
    with pytest.raises(ValueError, match=reason):
        read_arrow(body)


def test_offsets_outside_of_the_text_are_refused() -> None:
    """Texts that point outside of their buffer are found before anything reads them."""
    body = bytearray(stream(pa.table({"a": ["hello", "world"]})))
    at = bytes(body).index(struct.pack("<iii", 0, 5, 10))
    body[at : at + 12] = struct.pack("<iii", 0, 5, 10**9)
    with pytest.raises(ValueError):  # noqa: PT011 - Arrow's own words
        read_arrow(bytes(body))


@properties
@given(st.data())
def test_no_damage_breaks_the_stream_reader(data: st.DataObject) -> None:
    """A stream of which some bytes are others is read or refused."""
    body = bytearray(stream(pa.table({"a": [1.5, 2.5], "b": ["x", "y"]})))
    for _ in range(data.draw(st.integers(1, 4))):
        body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(ValueError):
        read_arrow(bytes(body))


# -- Out ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("accept", "chosen"),
    [
        ("", None),
        ("*/*", None),
        ("application/json", None),
        ("application/*", None),
        ("text/html", None),
        (NPY, NPY),
        ("Application/X-NPY", NPY),
        (f"{NPY}, */*", NPY),
        (f"*/*, {NPY}", NPY),
        (f"{NPY}, application/json", NPY),
        (f"application/json, {NPY}", None),
        (f"{NPY};q=0.5, application/json", None),
        (f"{NPY};q=0.5, application/json;q=0.4", NPY),
        (f"{NPY};q=0.5, */*", None),
        (f"{NPY};q=0", None),
        (f"{NPY};q=x", None),
        (f"{RAW}, {NPY}", RAW),
        (f"{RAW};q=0.1, {NPY}", NPY),
        (f"{ARROW}, {RAW}", RAW),
        (ARROW, None),
    ],
)
def test_accept_chooses_the_form_of_an_array(accept: str, chosen: str | None) -> None:
    """The binary form that Accept names and prefers is the answer's; a wildcard, or nothing, means JSON."""
    found = encode(ARRAY, accept)
    assert (found and found[0]) == chosen


@pytest.mark.parametrize("array", [ARRAY, ARRAY.T, ARRAY.astype(">f4"), np.array(3), np.array([True])], ids=repr)
def test_arrays_are_written(array: Any) -> None:
    """What is written is read as the same array; bare numbers are little-endian and row by row."""
    found, raw = encode(array, NPY), encode(array, RAW)
    assert found is not None and raw is not None
    np.testing.assert_array_equal(read_npy(found[1]), array)
    np.testing.assert_array_equal(read_raw(raw[1], array.dtype, array.shape), array)


def test_frames_are_written() -> None:
    """A frame goes out as an Arrow stream without its index."""
    found = encode(FRAME.set_axis(["x", "y"]), f"{NPY}, {ARROW}")
    assert found is not None and found[0] == ARROW
    pd.testing.assert_frame_equal(read_arrow(found[1]), FRAME)


@pytest.mark.parametrize(
    "result",
    [{"a": ARRAY}, [1.5], None, "text", 1.5, np.float64(1.5), np.array(["a"]), np.array([{}]), FRAME["age"]],
    ids=repr,
)
def test_other_results_stay_json(result: Any) -> None:
    """What has no binary form is JSON whatever Accept says."""
    assert encode(result, f"{NPY}, {RAW}, {ARROW}") is None


def test_a_frame_that_arrow_cannot_hold_stays_json() -> None:
    """A column of values of several types has no Arrow type."""
    assert encode(pd.DataFrame({"a": [1, "x", {}]}), ARROW) is None


def test_without_pyarrow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where pyarrow is missing, a frame is JSON."""
    monkeypatch.setattr(binary, "has_arrow", lambda: False)
    assert encode(FRAME, ARROW) is None


def test_libraries_that_a_script_does_not_use_are_not_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    """A script without NumPy or pandas has them imported by no Accept header."""
    for name in ("numpy", "pandas"):
        monkeypatch.delitem(sys.modules, name)
    assert encode(ARRAY, NPY) is None
    assert "numpy" not in sys.modules and "pandas" not in sys.modules
