"""Quicker conversions of inference-schema's NumPy and pandas types, with the same results.

inference-schema writes the records of a data frame as JSON once more and has pandas read it, and asks of every row of
an array whether it holds dates. What is here makes the same arrays and frames of plain numbers and texts directly;
whatever is not plain, and whatever is not valid, goes the long way, which has the error messages too.

The numbers of a frame keep the value that JSON gives them (`contract.md`, "JSON, both ways"); the long way reads no
more than 15 digits behind the decimal point.
"""

from __future__ import annotations

import copy
import itertools
import operator
import sys
import warnings
from collections.abc import Callable, Iterable, Sequence
from typing import Any

Deserialize = Callable[[Any], Any]

_TYPES = "inference_schema.parameter_types"
_PLAIN_KINDS = frozenset("biuf")
# Names by which pandas takes a column for dates.
_DATE_ENDS = ("_at", "_time")
_DATE_NAMES = frozenset({"modified", "date", "datetime"})
_NOT_PLAIN = (TypeError, ValueError, LookupError, AttributeError, OverflowError, RecursionError)


def quicken(parameter_types: Iterable[Any]) -> None:
    """Have NumPy and pandas types convert plain input directly.

    Args:
        parameter_types: types of inference-schema, nested ones too; others than NumPy's and pandas' stay as they are.
    """
    for part in parameter_types:
        for name, quick in (("numpy", _quick_array), ("pandas", _quick_frame)):
            module = sys.modules.get(f"{_TYPES}.{name}_parameter_type")
            kind = getattr(module, f"{name.capitalize()}ParameterType", None)
            if type(part) is kind and "deserialize_input" not in vars(part):
                convert = quick(part)
                if convert is not None:
                    part.deserialize_input = _or_else(convert, part.deserialize_input)


def _or_else(quick: Deserialize, slow: Deserialize) -> Deserialize:
    def deserialize(input_data: Any) -> Any:
        try:
            return quick(input_data)
        except _NOT_PLAIN:
            return slow(input_data)

    return deserialize


class _NotPlainError(ValueError):
    """The input has to go the long way."""


def has_plain_dtype(part: Any) -> bool:
    """Return whether a NumPy type enforces a dtype of numbers."""
    dtype = part.sample_input.dtype
    return bool(part.enforce_column_type and dtype.kind in _PLAIN_KINDS and dtype.isnative)


def fits_shape(part: Any, shape: Sequence[int]) -> bool:
    """Return whether a NumPy type accepts an array of this shape."""
    expected = part.sample_input.shape
    return not part.enforce_shape or (len(shape) == len(expected) and tuple(shape[1:]) == expected[1:])


def _quick_array(part: Any) -> Deserialize | None:
    """Return what makes an array of nested lists, and None for types that are not plain numbers."""
    if not has_plain_dtype(part):
        return None
    import numpy as np

    dtype = part.sample_input.dtype

    def convert(input_data: Any) -> Any:
        if type(input_data) is not list:
            raise _NotPlainError
        array = np.array(input_data, dtype=dtype)
        if not fits_shape(part, array.shape):
            raise _NotPlainError
        return array

    return convert


def _quick_frame(part: Any) -> Deserialize | None:
    """Return what makes a frame of records, and None where it would not be the same frame."""
    sample = part.sample_input
    names = list(sample.columns)
    if part.orient != "records" or part.apply_column_names or not names or len(set(names)) != len(names):
        return None
    if not all(map(_is_plain_name, names)) or not all(map(_is_plain_dtype, sample.dtypes)):
        return None
    frames = _Frames(names, sample.dtypes.to_dict() if part.enforce_column_type else {})
    return frames.convert if _is_same(frames.convert, part) else None


def _is_plain_name(name: Any) -> bool:
    """Return whether pandas leaves the values of a column as they are, whatever they look like."""
    if not isinstance(name, str):
        return False
    lower = name.lower()
    return not (lower.endswith(_DATE_ENDS) or lower in _DATE_NAMES or lower.startswith("timestamp"))


def _is_plain_dtype(dtype: Any) -> bool:
    return dtype.kind in _PLAIN_KINDS or str(dtype) in ("object", "str")


def _is_same(convert: Deserialize, part: Any) -> bool:
    """Return whether both ways make the same frame of the sample: names that look like numbers or dates do not."""
    import json

    records = json.loads(part.sample_input.head(3).to_json(orient="records"))
    if not records:
        return False
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            one, other = convert(records), part.deserialize_input(copy.deepcopy(records))
    except Exception:  # noqa: BLE001 - where the long way fails, there is nothing to be like
        return False
    return list(one.columns) == list(other.columns) and list(one.dtypes) == list(other.dtypes)


class _Frames:
    """Makes frames of records.

    Args:
        names: the columns that every record has to have, in any order.
        dtypes: of columns, where they are enforced.
    """

    def __init__(self, names: list[str], dtypes: dict[str, Any]) -> None:
        self._names = frozenset(names)
        self._dtypes = dtypes
        self._only_floats = all(str(dtypes.get(name)) == "float64" for name in names)

    def convert(self, records: Any) -> Any:
        """Return the frame; its columns are in the order of the first record.

        Raises:
            ValueError, TypeError, KeyError: the records are not plain.
        """
        import numpy as np
        import pandas as pd

        if type(records) is not list or not records or self._names != records[0].keys():
            raise _NotPlainError
        names = tuple(records[0])
        if set(map(type, records)) != {dict} or set(map(len, records)) != {len(names)}:
            raise _NotPlainError
        pick = operator.itemgetter(*names)
        rows: Iterable[Any] = map(pick, records) if len(names) > 1 else ((pick(record),) for record in records)
        if self._only_floats:
            values = list(itertools.chain.from_iterable(rows))
            if {int, float}.issuperset(map(type, values)):
                return pd.DataFrame(np.fromiter(values, float, len(values)).reshape(len(records), -1), columns=names)
            rows = zip(*[iter(values)] * len(names), strict=True)
        columns = zip(*rows, strict=True)
        frame = pd.DataFrame({name: _column(values) for name, values in zip(names, columns, strict=True)})
        changed = {name: dtype for name, dtype in self._dtypes.items() if frame.dtypes[name] != dtype}
        return frame.astype(changed) if changed else frame


def _column(values: Sequence[Any]) -> Any:
    """Return the values as pandas takes them from JSON.

    Raises:
        ValueError, OverflowError: the values are of mixed or nested types, or not to be had in UTF-8.
    """
    import numpy as np

    kinds = set(map(type, values))
    if kinds == {str}:
        "\0".join(values).encode()  # pandas' parser drops lone surrogates
        return list(values)
    if kinds == {bool}:
        return np.array(values, dtype=bool)
    if kinds == {int}:
        return np.array(values, dtype=np.int64)
    if float in kinds and kinds <= {int, float, type(None)}:
        return np.array([np.nan if value is None else value for value in values] if None in values else values, float)
    raise _NotPlainError
