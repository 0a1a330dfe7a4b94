"""Quicker conversions of NumPy and pandas types: the same results as inference-schema's own."""

from __future__ import annotations

import copy
import json
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from inference_schema.parameter_types.numpy_parameter_type import NumpyParameterType
from inference_schema.parameter_types.pandas_parameter_type import PandasParameterType

from azmlinfsrv.conversions import quicken

properties = settings(deadline=None, max_examples=150)

SAMPLE = pd.DataFrame({"a": [1.5], "b": [2], "c": ["x"], "d": [True]})
FLOATS = pd.DataFrame({"a": [1.5], "b": [2.5]})
# pandas' own parser reads no more than 15 digits behind the point: numbers that it reads whole.
NUMBERS = st.integers(-(2**63), 2**63 - 1) | st.integers(-1000, 1000).map(lambda whole: whole / 8)
SCALARS = NUMBERS | st.booleans() | st.none() | st.text(max_size=3)


def outcome(convert: Callable[[Any], Any], value: Any) -> Any:
    """Return what a conversion gives, or the error that it ends in."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return convert(copy.deepcopy(value))
        except Exception as error:  # noqa: BLE001 - compared with another
            return type(error), str(error)


def pair(make: Callable[[], Any]) -> tuple[Callable[[Any], Any], Callable[[Any], Any]]:
    """Return the quick and the original conversion of a type."""
    part = make()
    quicken([part])
    return part.deserialize_input, make().deserialize_input


def assert_same_frame(quick: Any, slow: Any) -> None:
    """Compare frames with their types and order of columns, or errors."""
    if isinstance(slow, tuple):
        assert quick == slow
    else:
        pd.testing.assert_frame_equal(quick, slow, check_exact=True, check_index_type="exact")


def assert_same_array(quick: Any, slow: Any) -> None:
    """Compare arrays to the bit, or errors."""
    if isinstance(slow, tuple):
        assert quick == slow
    else:
        assert (quick.dtype, quick.shape, quick.tobytes()) == (slow.dtype, slow.shape, slow.tobytes())
        assert quick.flags.writeable


@pytest.mark.parametrize("enforced", [True, False])
@properties
@given(
    records=st.lists(
        st.fixed_dictionaries({"a": NUMBERS | st.none(), "b": NUMBERS, "c": st.text(max_size=3), "d": st.booleans()}),
        max_size=4,
    )
    | st.lists(st.dictionaries(st.sampled_from("abcde"), SCALARS, max_size=5), max_size=3)
)
@example(records=[{"a": 1, "b": 2, "c": "\ud800", "d": True}])
@example(records=[{"d": True, "c": "", "b": 2, "a": None}, {"a": 1.5, "b": 2, "c": "1", "d": False}])
@example(records=[{"a": 1.5, "b": 2**63, "c": "x", "d": True}])
@example(records=[{"a": 1.5, "b": 1.5, "c": None, "d": True}])
@example(records=[{"a": [1], "b": 2, "c": {"x": 1}, "d": True}])
def test_records_become_the_same_frame(enforced: bool, records: list[dict[str, Any]]) -> None:
    """Records of any scalars become the frame that inference-schema makes of them, or the same error."""
    quick, slow = pair(lambda: PandasParameterType(SAMPLE, enforce_column_type=enforced))
    assert_same_frame(outcome(quick, records), outcome(slow, records))


@properties
@given(records=st.lists(st.fixed_dictionaries({"b": SCALARS, "a": NUMBERS}), max_size=4))
@example(records=[{"b": 1, "a": 2.5}, {"a": 1, "b": 0.125}])
def test_frames_of_floats_are_the_same(records: list[dict[str, Any]]) -> None:
    """Columns that are all floats, which are made at once, are the same as well."""
    quick, slow = pair(lambda: PandasParameterType(FLOATS))
    assert_same_frame(outcome(quick, records), outcome(slow, records))


@pytest.mark.parametrize("value", [None, 1, "text", {}, {"a": {"0": 1}}, [], [1], [[1, 2]], [None], [{"a": 1}, 2]])
def test_what_is_no_record_is_the_same(value: Any) -> None:
    """Input that is no list of records ends in the error, or the frame, of inference-schema."""
    quick, slow = pair(lambda: PandasParameterType(FLOATS))
    assert_same_frame(outcome(quick, value), outcome(slow, value))


def test_numbers_keep_all_their_digits() -> None:
    """A number in a record has the value that `json.loads` gives it; pandas' parser drops what is behind 15 digits."""
    quick, slow = pair(lambda: PandasParameterType(FLOATS))
    records = json.loads('[{"a": 0.12345678901234568, "b": 1}]')
    assert quick(records)["a"][0] == 0.12345678901234568
    np.testing.assert_allclose(slow(records)["a"], quick(records)["a"], rtol=1e-14)


@pytest.mark.parametrize(
    "make",
    [
        lambda: PandasParameterType(pd.DataFrame({"date": [1.5]})),
        lambda: PandasParameterType(pd.DataFrame({"Created_at": [1.5]})),
        lambda: PandasParameterType(pd.DataFrame({"timestamp_s": [1.5]})),
        lambda: PandasParameterType(pd.DataFrame({1: [1.5]})),
        lambda: PandasParameterType(pd.DataFrame({"1": [1.5], "2": [2.5]})),
        lambda: PandasParameterType(pd.DataFrame({"2020-01-01": [1.5]})),
        lambda: PandasParameterType(pd.DataFrame({"a": pd.to_datetime(["2020-01-01"])})),
        lambda: PandasParameterType(pd.DataFrame({"a": pd.to_timedelta(["1 days"])})),
        lambda: PandasParameterType(pd.DataFrame({"a": pd.Categorical(["x"])})),
        lambda: PandasParameterType(pd.DataFrame({"a": [1.5]}), orient="split"),
        lambda: PandasParameterType(pd.DataFrame({"a": [1.5]}).iloc[:0]),
        lambda: NumpyParameterType(np.array(["2020-01-01"], dtype="datetime64[D]")),
        lambda: NumpyParameterType(np.array([(1, 2.5)], dtype=[("a", "i4"), ("b", "f4")])),
        lambda: NumpyParameterType(np.array(["a"])),
        lambda: NumpyParameterType(np.array([1.5]), enforce_column_type=False),
    ],
)
def test_what_is_not_plain_stays_as_it_is(make: Callable[[], Any]) -> None:
    """Types for which pandas looks for dates, or names that it converts, keep inference-schema's own conversion."""
    part = make()
    quicken([part])
    assert "deserialize_input" not in vars(part)


def test_plain_types_are_quickened() -> None:
    """Types of plain numbers and texts have the quick conversion, types of the user's own never."""

    class Own(NumpyParameterType):  # type: ignore[misc]  # ships no types
        """A type of the user's own."""

    parts = [PandasParameterType(SAMPLE), NumpyParameterType(np.array([1.5])), Own(np.array([1.5]))]
    quicken(parts)
    assert ["deserialize_input" in vars(part) for part in parts] == [True, True, False]


@pytest.mark.parametrize("dtype", ["float64", "float32", "int64", "int8", "uint8", "bool", "float16"])
@properties
@given(
    value=st.lists(st.lists(SCALARS, min_size=2, max_size=2), max_size=3)
    | st.lists(SCALARS | st.lists(SCALARS, max_size=2), max_size=3)
    | SCALARS
)
def test_lists_become_the_same_array(dtype: str, value: Any) -> None:
    """Nested lists of any scalars become the array that inference-schema makes of them, or the same error."""
    quick, slow = pair(lambda: NumpyParameterType(np.ones((1, 2), dtype=dtype)))
    assert_same_array(outcome(quick, value), outcome(slow, value))
