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

_DIGITS_TO_ZERO = bytes(0x30 if 0x30 <= byte <= 0x39 else 0x20 for byte in range(256))
_LONG_NUMBER = b"0" * 19
# Dataclasses and datetimes are ours, so that they are the same whichever library writes them.
_OPTIONS = orjson.OPT_PASSTHROUGH_DATACLASS | orjson.OPT_PASSTHROUGH_DATETIME
_NATIVE_KINDS = frozenset("iub")


def loads(text: bytes) -> Any:
    """Return the value of a JSON text, as `json.loads` has it.

    orjson turns integers beyond 64 bits into floats, so a text with 19 digits in a row goes to the standard library;
    so does all that orjson refuses (NaN, Infinity, 1e400, lone surrogates, byte order marks, UTF-16, deep nesting).

    Raises:
        json.JSONDecodeError: the text is not JSON.
        UnicodeDecodeError: the text is not UTF-8, UTF-16 or UTF-32.
        ValueError: an integer has more digits than Python converts.
        RecursionError: the text is nested more deeply than Python allows.
    """
    if _LONG_NUMBER not in text.translate(_DIGITS_TO_ZERO):
        try:
            return orjson.loads(text)
        except orjson.JSONDecodeError:
            pass
    return json.loads(text)


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
    """Return the same as `default`, but for large arrays a text that orjson writes."""
    numpy = sys.modules.get("numpy")
    if numpy is not None and isinstance(value, numpy.ndarray):
        dtype = value.dtype
        if dtype.isnative and (dtype == numpy.float64 or dtype.kind in _NATIVE_KINDS) and value.flags.c_contiguous:
            return (
                orjson.Fragment(orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY)) if value.ndim else value.item()
            )
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
