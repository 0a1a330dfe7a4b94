"""Tensors of the Open Inference Protocol: their datatypes, and their elements in JSON and in binary.

Sources: the protocol's "Tensor Data" and "Tensor Data Types"; its binary tensor data extension. Every failure to read
is a `ValueError` that says what was wrong.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from typing import Any

from azmlinfsrv import codec
from azmlinfsrv.arrays import Array
from azmlinfsrv.binary import read_raw

BYTES = "BYTES"
_DTYPES = {
    "BOOL": "bool",
    **{f"UINT{bits}": f"uint{bits}" for bits in (8, 16, 32, 64)},
    **{f"INT{bits}": f"int{bits}" for bits in (8, 16, 32, 64)},
    **{f"FP{bits}": f"float{bits}" for bits in (16, 32, 64)},
}
_NAMES = {dtype: name for name, dtype in _DTYPES.items()}
DATATYPES = (*_DTYPES, BYTES)
_LENGTH = struct.Struct("<I")


def datatype_of(dtype: Any) -> str:
    """Return the protocol's name of a dtype of NumPy or pandas; whatever is no number is BYTES."""
    plain = getattr(dtype, "numpy_dtype", dtype)  # pandas has integers and booleans of its own
    return _NAMES.get(getattr(plain, "name", str(plain)), BYTES)


def check_datatype(datatype: Any) -> str:
    """Return the name of a datatype.

    Raises:
        ValueError: it is none that is taken.
    """
    if datatype == "BF16":
        raise ValueError("the datatype BF16 is not supported, NumPy has none like it: send FP32")
    if datatype not in DATATYPES:
        raise ValueError(f"the datatype {datatype!r} is none of {', '.join(DATATYPES)}")
    return str(datatype)


def check_shape(shape: Any) -> tuple[int, ...]:
    """Return a shape.

    Raises:
        ValueError: it is no list of sizes.
    """
    is_shape = isinstance(shape, list) and len(shape) <= 32
    if not is_shape or not all(type(size) is int and 0 <= size < 1 << 62 for size in shape):
        raise ValueError(f"the shape {codec.dumps(shape).decode()[:100]} is no list of sizes")
    return tuple(shape)


def read_json(data: Any, datatype: str, shape: Sequence[int]) -> Any:
    """Return the array in the elements of a JSON list, flat or nested as the shape is.

    Elements of BYTES are texts; null is NaN where floats are expected.

    Raises:
        ValueError: the elements are not of the datatype, or not as many as the shape has.
    """
    import numpy as np

    if not isinstance(data, list):
        raise ValueError("the data is no list")  # noqa: TRY004 - as all that is wrong with the data
    if datatype == BYTES:
        array = np.array(data, dtype=object)
        if not all(type(each) is str for each in array.flat):
            raise ValueError("the data of BYTES must be texts")
    else:
        array = _numbers(data, datatype)
    if array.shape == tuple(shape):
        return array
    if array.ndim > 1 or array.size != math.prod(shape):
        raise ValueError(f"the data has the shape {list(array.shape)}, and not {list(shape)}")
    return array.reshape(shape)


def _numbers(data: list[Any], datatype: str) -> Any:
    import numpy as np

    dtype = _DTYPES[datatype]
    try:
        if dtype in ("int64", "uint64") and np.asarray(data).dtype.kind == "f":
            # NumPy makes floats of integers that no type of 64 bits has together.
            exact = np.array(data, dtype=object)
            if all(type(each) is int for each in exact.flat):
                return exact.astype(dtype)
        return Array(dtype).parse(data)
    except (ValueError, TypeError, OverflowError) as error:
        if datatype.startswith("FP"):
            objects = np.array(data, dtype=object)
            if any(each is None for each in objects.flat):
                return Array(dtype).parse(with_nan(objects))
        raise error if isinstance(error, ValueError) else ValueError(f"not an array of {dtype}: {error}") from error


def with_nan(objects: Any) -> Any:
    """Return an array of objects with NaN for each None."""
    import numpy as np

    found = np.empty(objects.size, dtype=object)
    found[:] = [math.nan if each is None else each for each in objects.flat]
    return found.reshape(objects.shape)


def read_binary(data: memoryview, datatype: str, shape: Sequence[int]) -> Any:
    """Return the array in the bytes of a tensor: a read-only view where they lie as NumPy wants numbers to.

    Elements of BYTES are bytes.

    Raises:
        ValueError: there are too few bytes or too many.
    """
    import numpy as np

    count = math.prod(shape)
    if datatype == BYTES:
        found = _read_elements(data, count)
        elements = np.empty(count, dtype=object)
        elements[:] = found
        return elements.reshape(shape)
    dtype = np.dtype(_DTYPES[datatype])
    if not count and not len(data):
        return np.empty(shape, dtype)
    array = read_raw(data, dtype, list(shape))
    return array if array.flags.aligned else array.copy()


def _read_elements(data: memoryview, count: int) -> list[bytes]:
    """Return the elements of a BYTES tensor: the length of each, in 4 bytes, is before it."""
    elements, at, end = [], 0, len(data)
    while at + 4 <= end:
        size = _LENGTH.unpack_from(data, at)[0]
        at += 4 + size
        if at > end:
            break
        elements.append(bytes(data[at - size : at]))
    if at != end or len(elements) != count:
        raise ValueError(f"{end} bytes are not the {count} elements of BYTES that the shape has")
    return elements


def json_elements(array: Any) -> Any:
    """Return the elements of an array, row by row, as JSON can hold them.

    Raises:
        ValueError: they are bytes that are no text.
    """
    flat = array.reshape(-1)
    return flat if array.dtype.kind != "O" else list(texts(flat))


def binary_elements(array: Any) -> bytes:
    """Return the bytes of a tensor: numbers little-endian and row by row, each element of BYTES after its length."""
    import numpy as np

    if array.dtype.kind != "O":
        return bytes(np.asarray(array, array.dtype.newbyteorder("<")).tobytes())
    pieces: list[bytes] = []
    for each in array.flat:
        element = each if isinstance(each, bytes) else each.encode("utf-8", "replace")
        pieces += (_LENGTH.pack(len(element)), element)
    return b"".join(pieces)


def texts(array: Any) -> Any:
    """Return the elements of BYTES as texts, in an array of the same shape.

    Raises:
        ValueError: one is not UTF-8.
    """
    import numpy as np

    found = np.empty(array.size, dtype=object)
    try:
        found[:] = [each.decode() if isinstance(each, bytes) else each for each in array.flat]
    except UnicodeDecodeError as error:
        raise ValueError(f"an element of BYTES is not UTF-8: {error}") from error
    return found.reshape(array.shape)
