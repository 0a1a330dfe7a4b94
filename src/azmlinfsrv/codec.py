"""JSON both ways: orjson where it means the same as the standard library, the standard library elsewhere.

Source: `contract.md`, "JSON, both ways".
"""

from __future__ import annotations

import base64
import dataclasses
import datetime
import enum
import json
import sys
import uuid
from typing import Any

import orjson

# Digits become 0 and all else but the decimal point a space.
_DIGITS_TO_ZERO = bytes(0x30 if 0x30 <= byte <= 0x39 else 0x2E if byte == 0x2E else 0x20 for byte in range(256))
_LONG_INTEGER = b" " + b"0" * 19
# Dataclasses and datetimes are ours, so that they are the same whichever library writes them.
_OPTIONS = orjson.OPT_PASSTHROUGH_DATACLASS | orjson.OPT_PASSTHROUGH_DATETIME
_NUMBER_KINDS = frozenset("biuf")


def loads(text: bytes | bytearray) -> Any:
    """Return the value of a JSON text, as `json.loads` has it.

    orjson turns integers beyond 64 bits into floats, so a text with 19 digits in a row goes to the standard library
    unless they are those of a fraction; so does all that orjson refuses (NaN, Infinity, 1e400, lone surrogates, byte
    order marks, UTF-16, deep nesting).

    Raises:
        json.JSONDecodeError: the text is not JSON.
        UnicodeDecodeError: the text is not UTF-8, UTF-16 or UTF-32.
        ValueError: an integer has more digits than Python converts.
        RecursionError: the text is nested more deeply than Python allows.
    """
    if not _may_have_long_integer(text):
        try:
            return orjson.loads(text)
        except orjson.JSONDecodeError:
            pass
    return json.loads(text)


def _may_have_long_integer(text: bytes | bytearray) -> bool:
    """Return whether 19 digits in a row do not follow a decimal point; small numbers with all digits have as many."""
    # From the end, because there the first byte of what is looked for, which is rare, is compared first.
    return text.translate(_DIGITS_TO_ZERO).rfind(_LONG_INTEGER) >= 0 or text[:19].isdigit()


def dumps(value: Any) -> bytes:
    """Return the JSON text of a value, as `json.dumps` means it, in UTF-8.

    orjson writes NaN and Infinity as null, so a text with a null in it is written again by the standard library.
    NumPy, pandas, dataclasses, dates, UUIDs, enumerations and decimals are encoded too.

    Raises:
        TypeError: JSON cannot hold the value.
        ValueError: the value contains itself, or a key or number cannot be written.
        RecursionError: the value is nested more deeply than Python allows.
    """
    try:
        text = orjson.dumps(value, _default_fast, _OPTIONS)
    except TypeError:
        # Keys that are not strings, integers beyond 64 bits, lone surrogates, deep nesting.
        text = b"null"
    return _dumps_standard(value) if b"null" in text else text


def _dumps_standard(value: Any) -> bytes:
    return json.dumps(value, default=default).encode()


def _default_fast(value: Any) -> Any:
    """Return the same as `default`, but for arrays of numbers a text that orjson writes."""
    numpy = sys.modules.get("numpy")
    if numpy is not None and isinstance(value, numpy.ndarray):
        kind, size = value.dtype.kind, value.dtype.itemsize
        if kind in _NUMBER_KINDS and size <= 8:
            if not value.ndim:
                return value.item()
            # As `tolist` has it: a float of 32 bits is written with the digits of the same number in 64 bits.
            plain = numpy.ascontiguousarray(value, numpy.float64 if kind == "f" else value.dtype.newbyteorder("="))
            return orjson.Fragment(orjson.dumps(plain, option=orjson.OPT_SERIALIZE_NUMPY))
    return default(value)


def dumps_lossy(value: Any) -> bytes:
    """Return the JSON text of dictionaries, lists, texts and numbers; lone surrogates become question marks.

    Texts have them that come from file names or bytes that are not UTF-8; telemetry must not be lost for them.
    """
    try:
        return orjson.dumps(value)
    except TypeError:
        return json.dumps(value, ensure_ascii=False).encode("utf-8", "replace")


def default(value: Any) -> Any:
    """Return something that JSON can hold in place of a value of another type.

    Raises:
        TypeError: there is nothing.
    """
    if isinstance(value, tuple):
        return list(value)
    if isinstance(value, enum.Enum):
        return value.value
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if isinstance(value, (uuid.UUID, datetime.timedelta)):
        return str(value)
    for name, replace in _LIBRARIES:
        library = sys.modules.get(name)
        if library is not None and (found := replace(value, library)) is not _UNKNOWN:
            return found
    if isinstance(value, (datetime.datetime, datetime.date, datetime.time)):
        return value.isoformat()
    message = f"Object of type {type(value).__name__} is not JSON serializable"
    raise TypeError(message)


def _from_decimal(value: Any, decimal: Any) -> Any:
    """Return an integer as one, and any other decimal as a float."""
    if not isinstance(value, decimal.Decimal):
        return _UNKNOWN
    return int(value) if value == value.to_integral_value() and value.as_tuple().exponent == 0 else float(value)


def _from_pydantic(value: Any, pydantic: Any) -> Any:
    """Return the fields of a model."""
    return value.model_dump() if isinstance(value, pydantic.BaseModel) else _UNKNOWN


def _from_pandas(value: Any, pandas: Any) -> Any:
    """Return what stands for a value of pandas: records of a frame, a list, text, or None."""
    if value is pandas.NaT or value is pandas.NA:
        return None
    if isinstance(value, pandas.DataFrame):
        return value.to_dict(orient="records")
    if isinstance(value, (pandas.Series, pandas.Index, pandas.api.extensions.ExtensionArray)):
        return value.tolist()
    return str(value) if isinstance(value, (pandas.Period, pandas.Interval)) else _UNKNOWN


def _from_numpy(value: Any, numpy: Any) -> Any:
    """Return nested lists or a Python scalar; dates as text, as ISO 8601 has them."""
    if not isinstance(value, (numpy.ndarray, numpy.generic)):
        return _UNKNOWN
    kind = value.dtype.kind
    if kind == "M":
        return numpy.where(numpy.isnat(value), None, numpy.datetime_as_string(value)).tolist()
    if kind == "m":
        return numpy.where(numpy.isnat(value), None, value.astype(str)).tolist()
    if kind == "S":
        return numpy.vectorize(_base64, otypes=[object])(value).tolist()
    if kind == "f" and value.dtype.itemsize > 8:
        return value.astype(numpy.float64).tolist()  # Python has no longer floats: `tolist` leaves them as they are
    return value.tolist()


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


_UNKNOWN = object()
# The libraries whose values JSON can be made to hold; looked for only where they are imported already.
# Who has a value of one of these has imported it, and the server need not.
_LIBRARIES = (
    ("decimal", _from_decimal),
    ("pydantic", _from_pydantic),
    ("pandas", _from_pandas),
    ("numpy", _from_numpy),
)
