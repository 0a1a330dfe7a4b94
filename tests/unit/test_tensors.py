"""Tensors in JSON and in binary."""

from __future__ import annotations

import math
import struct
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy

from azmlinfsrv import tensors

NUMBERS = {
    "BOOL": [True, False],
    "UINT8": [0, 255],
    "UINT16": [0, 65535],
    "UINT32": [0, 2**32 - 1],
    "UINT64": [1, 2**64 - 1],
    "INT8": [-128, 127],
    "INT16": [-(2**15), 2**15 - 1],
    "INT32": [-(2**31), 2**31 - 1],
    "INT64": [-(2**63), 2**63 - 1],
    "FP16": [-1.5, 65504.0],
    "FP32": [0.5, -3.0],
    "FP64": [0.1, -1e300],
}


@pytest.mark.parametrize("datatype", NUMBERS)
def test_numbers_go_both_ways(datatype: str) -> None:
    """The smallest and the largest of each datatype come back from JSON and from binary."""
    array = tensors.read_json(NUMBERS[datatype], datatype, [2])
    assert tensors.datatype_of(array.dtype) == datatype
    assert array.tolist() == NUMBERS[datatype]
    written = tensors.binary_elements(array)
    again = tensors.read_binary(memoryview(written), datatype, [2, 1])
    assert again.shape == (2, 1) and again.dtype == array.dtype
    np.testing.assert_array_equal(again.reshape(-1), array)
    np.testing.assert_array_equal(tensors.json_elements(again), array)


@settings(deadline=None)
@given(st_numpy.arrays(st_numpy.floating_dtypes(endianness="="), st_numpy.array_shapes(min_dims=0, min_side=0)))
def test_any_array_comes_back_from_binary(array: Any) -> None:
    """An array of any shape, the empty one and the one without dimensions too, comes back bit by bit."""
    datatype = tensors.datatype_of(array.dtype)
    again = tensors.read_binary(memoryview(tensors.binary_elements(array)), datatype, array.shape)
    assert again.tobytes() == array.tobytes() and again.shape == array.shape


@settings(deadline=None)
@given(st.lists(st.binary(max_size=20), max_size=8))
def test_bytes_come_back_from_binary(elements: list[bytes]) -> None:
    """Elements of BYTES may be any bytes, and none."""
    array = np.empty(len(elements), dtype=object)
    array[:] = elements
    written = tensors.binary_elements(array)
    assert tensors.read_binary(memoryview(written), "BYTES", [len(elements)]).tolist() == elements


def test_bytes_are_little_endian_with_lengths() -> None:
    """Binary data is as the extension describes it, whatever the order of the array's own bytes."""
    assert tensors.binary_elements(np.array([1, 256], ">i2")) == b"\x01\x00\x00\x01"
    texts = np.array(["a", "é"], dtype=object)
    assert tensors.binary_elements(texts) == b"\x01\x00\x00\x00a\x02\x00\x00\x00\xc3\xa9"
    assert tensors.binary_elements(np.asfortranarray([[1, 2], [3, 4]], np.uint8)) == b"\x01\x02\x03\x04"


def test_binary_numbers_are_views_where_they_are_aligned() -> None:
    """No number is copied that lies at a multiple of its size; libraries want no others."""
    body = memoryview(bytearray(33))
    assert not tensors.read_binary(body[:32], "FP64", [4]).flags.owndata
    odd = tensors.read_binary(body[1:], "FP64", [4])
    assert odd.flags.aligned and odd.flags.owndata


@pytest.mark.parametrize(
    ("datatype", "shape", "size", "reason"),
    [
        ("FP32", [2], 7, "expected 8 bytes, got 7"),
        ("FP32", [2], 12, "expected 8 bytes, got 12"),
        ("FP32", [0], 4, "expected 0 bytes, got 4"),
        ("BOOL", [1], 1, "found bytes other than 0 and 1 among booleans"),
        ("BYTES", [1], 3, "3 bytes are not the 1 elements of BYTES"),
        ("BYTES", [1], 8, "8 bytes are not the 1 elements of BYTES"),
        ("BYTES", [10**9], 8, "8 bytes are not the 1000000000 elements of BYTES"),
    ],
)
def test_binary_data_of_another_size(datatype: str, shape: list[int], size: int, reason: str) -> None:
    """Binary data that is too short, too long or no boolean is refused, without memory for what a shape claims."""
    with pytest.raises(ValueError, match=reason):
        tensors.read_binary(memoryview(b"\x02" * size), datatype, shape)


def test_bytes_that_end_too_soon() -> None:
    """An element whose length goes beyond the data is refused."""
    with pytest.raises(ValueError, match="elements of BYTES"):
        tensors.read_binary(memoryview(struct.pack("<I", 100) + b"abc"), "BYTES", [1])


@pytest.mark.parametrize("data", [[1.5, 2.0, 3.0, 4.0], [[1.5, 2.0], [3.0, 4.0]]])
def test_json_is_flat_or_nested(data: list[Any]) -> None:
    """Elements come row by row, or nested as the shape is."""
    assert tensors.read_json(data, "FP64", [2, 2]).tolist() == [[1.5, 2.0], [3.0, 4.0]]
    texts = [["a", "b"], ["c", "d"]] if isinstance(data[0], list) else ["a", "b", "c", "d"]
    assert tensors.read_json(texts, "BYTES", [2, 2]).tolist() == [["a", "b"], ["c", "d"]]


def test_json_numbers_keep_their_values() -> None:
    """Integers beyond 2**53 stay what they are, integers are floats, and null is NaN among floats."""
    assert tensors.read_json([1, 2**63], "UINT64", [2]).tolist() == [1, 2**63]
    assert tensors.read_json([1, 2], "FP32", [2]).tolist() == [1.0, 2.0]
    assert tensors.read_json([10**20], "FP64", [1]).tolist() == [1e20]
    found = tensors.read_json([[1.5], [None]], "FP64", [2, 1]).tolist()
    assert found[0] == [1.5] and math.isnan(found[1][0])
    assert tensors.read_json([], "INT32", [0, 4]).shape == (0, 4)


@pytest.mark.parametrize(
    ("data", "datatype", "shape"),
    [
        (1.0, "FP64", [1]),
        ({"a": 1}, "FP64", [1]),
        ([1.5], "INT64", [1]),
        ([300], "UINT8", [1]),
        ([-1], "UINT64", [1]),
        ([-1, 2**63], "INT64", [2]),
        ([2**64], "UINT64", [1]),
        ([True], "FP64", [1]),
        ([1], "BOOL", [1]),
        (["1"], "INT64", [1]),
        ([None], "INT64", [1]),
        ([None, True], "FP64", [2]),
        ([1], "BYTES", [1]),
        ([None], "BYTES", [1]),
        (["a", ["b"]], "BYTES", [2]),
        ([[1.0, 2.0], [3.0]], "FP64", [3]),
        ([1.0, 2.0, 3.0], "FP64", [2]),
        ([[1.0, 2.0], [3.0, 4.0]], "FP64", [4]),
        ([[1.0, 2.0]], "FP64", [2, 1]),
        ([], "FP64", [1]),
    ],
    ids=str,
)
def test_json_that_is_no_tensor(data: Any, datatype: str, shape: list[int]) -> None:
    """Elements of another kind, out of range, or not as many as the shape has, are refused."""
    with pytest.raises(ValueError, match=r"."):
        tensors.read_json(data, datatype, shape)


@pytest.mark.parametrize("shape", [None, 3, [1.0], [True], [-1], ["2"], [1] * 33, [2**63]], ids=str)
def test_shapes_are_lists_of_sizes(shape: Any) -> None:
    """Whatever is no list of sizes is refused."""
    with pytest.raises(ValueError, match="is no list of sizes"):
        tensors.check_shape(shape)
    assert tensors.check_shape([2, 0]) == (2, 0) and tensors.check_shape([]) == ()


def test_datatypes() -> None:
    """Each name is taken but BF16, whose refusal says what to send instead; pandas' own types have names too."""
    assert [tensors.check_datatype(name) for name in tensors.DATATYPES] == list(tensors.DATATYPES)
    with pytest.raises(ValueError, match=r"BF16 is not supported.*FP32"):
        tensors.check_datatype("BF16")
    with pytest.raises(ValueError, match="the datatype 'float' is none of BOOL, UINT8"):
        tensors.check_datatype("float")
    with pytest.raises(ValueError, match="the datatype None"):
        tensors.check_datatype(None)
    for dtype, name in (("Int64", "INT64"), ("boolean", "BOOL"), ("string", "BYTES"), ("category", "BYTES")):
        assert tensors.datatype_of(pd.api.types.pandas_dtype(dtype)) == name
    assert tensors.datatype_of(np.dtype(">f4")) == "FP32" and tensors.datatype_of(np.dtype("datetime64[s]")) == "BYTES"


def test_bytes_that_are_no_text() -> None:
    """JSON can hold only elements of BYTES that are UTF-8."""
    array = np.array([b"\xff"], dtype=object)
    with pytest.raises(ValueError, match="not UTF-8"):
        tensors.json_elements(array)
    assert tensors.json_elements(np.array([["a"], [b"b"]], dtype=object)) == ["a", "b"]
