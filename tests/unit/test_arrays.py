"""Arrays and data frames of a typed `run()`: what becomes one, what is refused, and how it is described."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from azmlinfsrv import Array, Frame


def refusal(annotation: Array | Frame, value: Any) -> str:
    """Return why an annotation refuses a value."""
    with pytest.raises(ValueError, match=r".") as caught:
        annotation.parse(value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("dtype", "value"),
    [
        ("float32", [[1, 2.5]]),
        ("float64", [1, 2]),
        ("float64", [10**30, 0.5]),
        ("int64", [1.0, 2]),
        ("uint8", [0, 255]),
        ("bool", [True, False]),
        ("str", ["a", "bc"]),
        ("int64", []),
        ("datetime64[D]", ["2026-01-31"]),
        ("object", ["a", 1, None]),
    ],
)
def test_arrays_of_nested_lists(dtype: str, value: list[Any]) -> None:
    """Nested lists become an array of the dtype with their values."""
    array = Array(dtype).parse(value)
    assert array.dtype.kind == np.dtype(dtype).kind
    assert array.dtype.itemsize == np.dtype(dtype).itemsize or dtype == "str"
    assert array.tolist() == np.array(value, dtype).tolist()


@pytest.mark.parametrize(
    ("dtype", "value", "reason"),
    [
        ("float32", [["a"]], "found text"),
        ("float32", ["1.5"], "found text"),
        ("float32", [None], "found values of other types"),
        ("float32", [True], "found booleans"),
        ("float32", [[2, 3], [0.5, False]], "found booleans"),
        ("int64", [2, True], "found booleans"),
        ("float32", [[1], [2, 3]], "inhomogeneous"),
        ("float32", {"a": 1}, "found values of other types"),
        ("int64", [1.5], "not an integer"),
        ("int64", [float("nan")], "not an integer"),
        ("int8", [300], "out of range"),
        ("uint8", [-1], "out of range"),
        ("int64", [10**30], "found values of other types"),
        ("bool", [1], "found integers"),
        ("str", [1], "found integers"),
        ("datetime64[D]", ["soon"], "not an array of datetime64"),
        ("float64", [10**400], "too large"),
    ],
)
def test_arrays_never_change_a_value(dtype: str, value: Any, reason: str) -> None:
    """What would be another value in the array is refused, and the reason names the dtype."""
    message = refusal(Array(dtype), value)
    assert message.startswith(f"not an array of {dtype}: ")
    assert reason in message


@pytest.mark.parametrize(
    ("shape", "fitting", "unfit"),
    [
        ("n 4", [[1, 2, 3, 4]], [[1, 2, 3]]),
        ("n", [], [[1]]),
        ("n n", [[1, 2], [3, 4]], [[1, 2]]),
        ("2 n", [[1], [2]], [[1]]),
        ("", 5, [5]),
    ],
)
def test_shapes(shape: str, fitting: Any, unfit: Any) -> None:
    """A number is a size, a name any size, equal names equal sizes, and no word a scalar."""
    assert Array("float64", shape).parse(fitting).tolist() == fitting
    assert refusal(Array("float64", shape), unfit).startswith(f"expected the shape ({shape}), got (")


def test_array_schemas() -> None:
    """A schema says how deep the lists are, how long, and of what."""
    schema = Array("int32", "n 3").json_schema()
    assert schema["items"] == {"type": "array", "items": {"type": "integer"}, "minItems": 3, "maxItems": 3}
    assert schema["description"] == "array of int32 with the shape (n 3)"
    assert Array("bool", "n").json_schema()["items"] == {"type": "boolean"}
    assert Array("str", "n").json_schema()["items"] == {"type": "string"}
    assert Array().json_schema()["items"] == {}


def test_arrays_as_results() -> None:
    """A result is sent as nested lists, be it an array or a list already."""
    assert Array().plain(np.array([[1.5]])) == [[1.5]]
    assert Array().plain([1, 2]) == [1, 2]


FRAME = Frame(age="float64", rooms="int64", name="object")


@pytest.mark.parametrize(
    "value",
    [
        [{"age": 1, "rooms": 2, "name": "a"}, {"name": None, "rooms": 3, "age": None}],
        {"name": ["a", None], "age": [1.0, None], "rooms": [2, 3]},
        pd.DataFrame({"rooms": [2, 3], "age": [1.0, float("nan")], "name": ["a", None]}, dtype=object),
    ],
    ids=["records", "columns", "frame"],
)
def test_frames(value: Any) -> None:
    """Records and objects of columns become a frame with the columns in order; null is NaN among floats."""
    frame = FRAME.parse(value)
    assert list(frame.columns) == ["age", "rooms", "name"]
    assert [dtype.kind for dtype in frame.dtypes] == ["f", "i", "O"]
    assert frame["age"].isna().tolist() == [False, True]
    assert frame["rooms"].tolist() == [2, 3]


def test_empty_frames() -> None:
    """No record is a frame without rows that has its columns and their types."""
    frame = FRAME.parse([])
    assert frame.shape == (0, 3)
    assert frame["age"].dtype == "float64"


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ([{"age": 1, "rooms": 2}], "row 0: missing columns: ['name'], unknown columns: none"),
        ([{"age": 1, "rooms": 2, "name": "a", "x": 1}], "row 0: missing columns: none, unknown columns: ['x']"),
        ({"age": [1]}, "missing columns: ['rooms', 'name'], unknown columns: none"),
        ([{"age": 1, "rooms": 1.5, "name": "a"}], "column 'rooms': not an array of int64"),
        ([{"age": "old", "rooms": 1, "name": "a"}], "column 'age': not an array of float64: found text"),
        ({"age": [1, 2], "rooms": [1], "name": ["a"]}, "must be of the same length"),
        ({"age": 1, "rooms": 1, "name": "a"}, "expected a list of records"),
        ([1], "expected a list of records"),
        (7, "expected a list of records"),
    ],
)
def test_frames_that_do_not_fit(value: Any, reason: str) -> None:
    """A frame with other columns or other types is refused, and the reason names the row or the column."""
    assert reason in refusal(FRAME, value)


def test_booleans_are_not_guessed() -> None:
    """Text is no boolean: pandas would take "false" for true."""
    assert "found text" in refusal(Frame(on="bool"), [{"on": "false"}])


@pytest.mark.parametrize(
    ("dtype", "schema"),
    [
        ("float64", {"type": ["number", "null"]}),
        ("int64", {"type": "integer"}),
        ("bool", {"type": "boolean"}),
        ("object", {}),
        ("string", {"type": ["string", "null"]}),
        ("Int64", {"type": ["integer", "null"]}),
        ("datetime64[ns]", {"type": "string"}),
    ],
)
def test_frame_schemas(dtype: str, schema: dict[str, Any]) -> None:
    """A schema has the type of each column, in both forms that are taken."""
    records, columns = Frame(a=dtype).json_schema()["anyOf"]
    assert records["items"]["properties"] == {"a": schema}
    assert columns["properties"] == {"a": {"type": "array", "items": schema}}
    for part in (records["items"], columns):
        assert (part["required"], part["additionalProperties"]) == (["a"], False)


@pytest.mark.parametrize(("dtype", "values"), [("Int64", [1, None]), ("string", ["a", None]), ("category", ["a", "a"])])
def test_extension_types(dtype: str, values: list[Any]) -> None:
    """The types of pandas are taken as well as NumPy's."""
    frame = Frame(a=dtype).parse({"a": values})
    assert str(frame["a"].dtype).lower().startswith(dtype.lower())
    assert "column 'a'" in refusal(Frame(a="Int64"), {"a": ["x"]})


def test_frames_as_results() -> None:
    """A result is sent as records; what is no frame is left as it is."""
    assert FRAME.plain(pd.DataFrame({"a": [1, 2]})) == [{"a": 1}, {"a": 2}]
    assert FRAME.plain([{"a": 1}]) == [{"a": 1}]
