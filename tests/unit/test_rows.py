"""Inputs are joined and results split by rows."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from azmlinfsrv import codec
from azmlinfsrv.rows import BatchResultError, ListJoiner, RowJoiner

ROWS = RowJoiner()


def frame(*ages: float, **more: list[Any]) -> pd.DataFrame:
    """Return a data frame."""
    return pd.DataFrame({"age": list(ages), **more})


def joins(first: Any, second: Any) -> bool:
    """Return whether two values of a parameter can be joined."""
    return bool(ROWS.fit({"x": first}).key == ROWS.fit({"x": second}).key)


@given(st.lists(st.integers(1, 5), min_size=1, max_size=8))
def test_arrays_frames_and_lists_go_there_and_back(counts: list[int]) -> None:
    """What `run()` returns of its rows is what each request would have got for its own."""
    inputs = []
    for number, count in enumerate(counts):
        values = [number * 10.0 + row for row in range(count)]
        inputs.append({"array": np.array([values, values]).T, "frame": frame(*values), "rows": values, "k": 3})
    fits = [ROWS.fit(each) for each in inputs]
    assert [fit.rows for fit in fits] == counts
    assert all(fit.key == fits[0].key for fit in fits)
    joined = ROWS.join(inputs)
    assert joined["k"] == 3
    results = [joined["array"] * 2, joined["frame"], joined["frame"]["age"], joined["rows"], tuple(joined["rows"])]
    for name, result in zip(["array", "frame", "age", "rows", "rows"], results, strict=True):
        for part, own in zip(ROWS.split(result, counts), inputs, strict=True):
            expected = own["frame"]["age"] if name == "age" else own[name]
            assert codec.dumps(part) == codec.dumps(expected * 2 if name == "array" else expected)
    for part, own in zip(ROWS.split({"y": joined["rows"], "version": "1"}, counts), inputs, strict=True):
        assert part == {"y": own["rows"], "version": "1"}


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (np.zeros((1, 2)), np.zeros((1, 3))),
        (np.zeros((1, 2)), np.zeros((1, 2), "float32")),
        (np.zeros(1), frame(1.0)),
        (frame(1.0), frame(1)),
        (frame(1.0), frame(1.0, name=["x"])),
        (frame(1.0).set_index(pd.Index(["a"])), frame(1.0).set_index(pd.Index(["a"]))),
        (frame(1.0).set_index(pd.Index([7])), frame(1.0)),
        (frame(1.0)["age"], frame(1.0)["age"].rename("other")),
        ([[1, 2]], [[1, 2, 3]]),
        ([1], [[1]]),
        ([], []),
        (np.zeros((0, 2)), np.zeros((0, 2))),
        (np.array(1), np.array(1)),
        ({"data": np.zeros((1, 2)), "k": 1}, {"data": np.zeros((1, 2)), "k": 2}),
    ],
)
def test_what_cannot_be_concatenated_does_not_join(first: Any, second: Any) -> None:
    """Other shapes, types, columns, labels and numbers of columns are other batches; so are inputs without rows."""
    assert not joins(first, second)


@pytest.mark.parametrize(("first", "second"), [(1, 2), (1, 1.0), (1, True), ("a", "b"), (None, 0), (0.0, -0.0)])
def test_other_parameters_must_be_equal(first: Any, second: Any) -> None:
    """A parameter without rows has the same value for a whole batch, type included."""
    one, other = (ROWS.fit({"x": [1], "k": k}).key for k in (first, second))
    again = ROWS.fit({"x": [2], "k": first}).key
    assert one != other and one == again


def test_parameters_with_rows_need_as_many() -> None:
    """An input whose parameters have different numbers of rows is not joined: it is not said what its rows are."""
    fit = ROWS.fit({"x": [1, 2], "y": [1]})
    assert fit.rows == 2
    assert fit.key != ROWS.fit({"x": [1, 2], "y": [1]}).key


def test_nested_arrays_have_rows() -> None:
    """Arrays and frames in an object are rows, as inference-schema nests them; a list there is a value."""
    one, two = ({"Inputs": {"data": frame(*ages), "names": ["age"]}} for ages in ([1.0], [2.0, 3.0]))
    assert [ROWS.fit(each).rows for each in (one, two)] == [1, 2]
    assert ROWS.fit(one).key == ROWS.fit(two).key
    joined = ROWS.join([one, two])
    assert joined["Inputs"]["names"] == ["age"]
    assert joined["Inputs"]["data"]["age"].tolist() == [1.0, 2.0, 3.0]


@pytest.mark.parametrize(
    ("result", "words"),
    [
        ([1, 2], "list of length 2"),
        (np.zeros((4, 1)), "ndarray of length 4"),
        (np.array(1.0), "ndarray"),
        ("[1,2,3]", "str"),
        (None, "NoneType"),
        ({"y": [1, 2]}, "list of length 2 as 'y'"),
        ({"y": [1, 2, 3], "z": {"a": [1, 2, 3]}}, "dict as 'z'"),
        ({"version": "1"}, "dict"),
    ],
)
def test_results_that_have_no_rows_are_refused(result: Any, words: str) -> None:
    """What cannot be shared out is never given to several requests; the error says what was there."""
    with pytest.raises(BatchResultError) as caught:
        ROWS.split(result, [1, 2])
    assert str(caught.value) == f"run() must return a result for each row of a batch, here 3; it returned {words}"


def test_a_list_has_the_inputs_and_gives_the_results() -> None:
    """An undecorated `run()` gets a list for each of its parameters."""
    lists = ListJoiner()
    inputs = [{"data": text, "request_headers": {"N": text}} for text in "ab"]
    assert {lists.fit(each) for each in inputs} == {(None, 1)}
    assert lists.join(inputs) == {"data": ["a", "b"], "request_headers": [{"N": "a"}, {"N": "b"}]}


@pytest.mark.parametrize(
    "result", [[[1], [2]], ([1], [2]), np.array([[1], [2]]), pd.Series([[1], [2]]), pd.DataFrame({"y": [1, 2]})]
)
def test_any_sequence_is_a_list_of_results(result: Any) -> None:
    """Lists, tuples, arrays, series and frames have an item for each input; a frame's items are records."""
    expected = [{"y": 1}, {"y": 2}] if isinstance(result, pd.DataFrame) else [[1], [2]]
    assert [codec.loads(codec.dumps(item)) for item in ListJoiner().split(result, [1, 1])] == expected


@pytest.mark.parametrize("result", [[1], [1, 2, 3], "ab", b"ab", {"a": 1, "b": 2}, None, 7, np.array(1)])
def test_a_wrong_number_of_results_is_refused(result: Any) -> None:
    """A text or object as long as the batch is no list of results either."""
    with pytest.raises(BatchResultError, match="one result for each of its inputs, here 2; it returned"):
        ListJoiner().split(result, [1, 1])
