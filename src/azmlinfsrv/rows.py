"""The inputs of several requests as one input, and the result of that as the results of each.

For an undecorated ``run()`` the joint input is a list. For one that has parameters it is the same parameters, with the
rows of all requests in their arrays, data frames and lists.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from itertools import accumulate, pairwise
from typing import Any, NamedTuple, Protocol

_NO_ROWS = object()


class Fit(NamedTuple):
    """With what an input can be joined.

    Attributes:
        key: equal for inputs that can be joined.
        rows: number of its rows.
    """

    key: object
    rows: int


class BatchResultError(Exception):
    """What ``run()`` returned for a batch cannot be shared out among its requests."""


class Joiner(Protocol):
    """Joins inputs and splits results.

    Attributes:
        takes_single: whether ``run()`` takes and returns, for one request, what it would without batches.
    """

    takes_single: bool

    def fit(self, arguments: Mapping[str, Any]) -> Fit:
        """Return with what the arguments of a request can be joined."""

    def join(self, inputs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """Return the arguments of ``run()`` for requests whose keys are equal."""

    def split(self, result: Any, rows: Sequence[int]) -> list[Any]:
        """Return the result of each request.

        Args:
            result: what ``run()`` returned.
            rows: number of rows of each request.

        Raises:
            BatchResultError: the result has not as many parts as it should.
        """


class ListJoiner:
    """Gives ``run()`` a list with the input of each request; its result has an item for each."""

    takes_single = False

    def fit(self, arguments: Mapping[str, Any]) -> Fit:
        """See `Joiner.fit`: all can be joined, and each is a row."""
        return Fit(None, 1)

    def join(self, inputs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """See `Joiner.join`."""
        return {name: [each[name] for each in inputs] for name in inputs[0]}

    def split(self, result: Any, rows: Sequence[int]) -> list[Any]:
        """See `Joiner.split`."""
        count = len(rows)
        if _length(result) != count:
            raise BatchResultError(
                f"run() must return a list with one result for each of its inputs, here {count}; "
                f"it returned {_in_words(result)}"
            )
        if _is_frame(result):
            return list(result.to_dict(orient="records"))
        return list(result.tolist() if _is_series(result) else result)


class RowJoiner:
    """Gives ``run()`` its parameters with the rows of all requests; its result has an item for each row."""

    takes_single = True

    def fit(self, arguments: Mapping[str, Any]) -> Fit:
        """See `Joiner.fit`: every array, frame and list must have the same number of rows, and all else be equal."""
        counts: set[int] = set()
        parts = tuple((name, _part_key(value, counts)) for name, value in arguments.items())
        if len(counts) == 1 and 0 not in counts and not any(key is _NO_ROWS for _, key in parts):
            return Fit(parts, counts.pop())
        return Fit(object(), max(counts, default=1) or 1)

    def join(self, inputs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """See `Joiner.join`."""
        return {name: _joined([each[name] for each in inputs]) for name in inputs[0]}

    def split(self, result: Any, rows: Sequence[int]) -> list[Any]:
        """See `Joiner.split`: of an object whose values have the rows, each request gets one with its own."""
        ends = list(accumulate(rows, initial=0))
        if isinstance(result, Mapping):
            columns = {name: _column(value, ends, name) for name, value in result.items()}
            if not any(isinstance(column, list) for column in columns.values()):
                raise BatchResultError(_no_rows(result, ends[-1]))
            return [
                {name: column[at] if isinstance(column, list) else result[name] for name, column in columns.items()}
                for at in range(len(rows))
            ]
        if _length(result) != ends[-1]:
            raise BatchResultError(_no_rows(result, ends[-1]))
        return _slices(result, ends)


def _part_key(value: Any, counts: set[int], *, nested: bool = False) -> object:
    """Return what values of a parameter must have in common to be joined, and note the number of its rows.

    A list within an object is a value like any other: it need not be rows.
    """
    if type(value) is dict:
        return dict, tuple((name, _part_key(each, counts, nested=True)) for name, each in value.items())
    if isinstance(value, list) and not nested:
        counts.add(len(value))
        return list, len(value[0]) if value and isinstance(value[0], list) else None
    if _is_array(value):
        if value.ndim == 0:
            return _NO_ROWS
        counts.add(len(value))
        return type(value), value.dtype, value.shape[1:]
    if _is_frame(value) or _is_series(value):
        counts.add(len(value))
        if not _has_plain_index(value):
            return object()  # its labels mean something
        if _is_series(value):
            return type(value), value.dtype, value.name
        return type(value), tuple(value.columns), tuple(value.dtypes)
    return type(value), repr(value) if isinstance(value, float) else value


def _joined(values: list[Any], *, nested: bool = False) -> Any:
    first = values[0]
    if type(first) is dict:
        return {name: _joined([value[name] for value in values], nested=True) for name in first}
    if _is_array(first):
        return sys.modules["numpy"].concatenate(values)
    if _is_frame(first) or _is_series(first):
        return sys.modules["pandas"].concat(values, ignore_index=True)
    if isinstance(first, list) and not nested:
        return [row for value in values for row in value]
    return first


def _column(value: Any, ends: Sequence[int], name: object) -> list[Any] | None:
    """Return the slices of a value that has the rows, and None of one that is the same for all."""
    if value is None or isinstance(value, (str, bool, int, float)):
        return None
    if _length(value) != ends[-1]:
        raise BatchResultError(f"{_no_rows(value, ends[-1])} as {name!r}")
    return _slices(value, ends)


def _slices(value: Any, ends: Sequence[int]) -> list[Any]:
    if _is_frame(value) or _is_series(value):
        parts = [value.iloc[start:end] for start, end in pairwise(ends)]
        return [part.reset_index(drop=True) for part in parts] if _has_plain_index(value) else parts
    return [value[start:end] for start, end in pairwise(ends)]


def _length(value: Any) -> int | None:
    """Return how many items or rows a sequence has, and None of what is none."""
    is_text = isinstance(value, (str, bytes, bytearray, memoryview, Mapping))
    if is_text or not (hasattr(value, "__len__") and hasattr(value, "__getitem__")):
        return None
    try:
        return len(value)
    except TypeError:  # an array without dimensions
        return None


def _no_rows(value: Any, count: int) -> str:
    return f"run() must return a result for each row of a batch, here {count}; it returned {_in_words(value)}"


def _in_words(value: Any) -> str:
    length = _length(value)
    return f"{type(value).__name__} of length {length}" if length is not None else f"{type(value).__name__}"


def _is_array(value: Any) -> bool:
    numpy = sys.modules.get("numpy")
    return numpy is not None and type(value) is numpy.ndarray


def _is_frame(value: Any) -> bool:
    pandas = sys.modules.get("pandas")
    return pandas is not None and isinstance(value, pandas.DataFrame)


def _is_series(value: Any) -> bool:
    pandas = sys.modules.get("pandas")
    return pandas is not None and isinstance(value, pandas.Series)


def _has_plain_index(value: Any) -> bool:
    """Return whether the rows are only numbered, from 0."""
    index = value.index
    return index.name is None and bool(index.equals(sys.modules["pandas"].RangeIndex(len(index))))
