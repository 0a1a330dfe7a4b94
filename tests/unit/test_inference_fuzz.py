"""Whatever is sent to the Open Inference Protocol is taken, or refused as bad input; nothing else happens."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from typing import Annotated, Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from inference_schema import schema_decorators
from inference_schema.parameter_types.numpy_parameter_type import NumpyParameterType
from inference_schema.parameter_types.pandas_parameter_type import PandasParameterType

from azmlinfsrv import inference_body
from azmlinfsrv.arrays import Array, Frame
from azmlinfsrv.errors import BadInputError
from azmlinfsrv.tensor_inputs import ScriptInputs, script_inputs
from tests.unit.inference_stage import script_of, tensor

pytestmark = pytest.mark.usefixtures("_own_schemas")

input_schema: Callable[..., Callable[[Any], Any]] = schema_decorators.input_schema
TABLE = pd.DataFrame({"x": [1.5], "name": ["a"], "day": pd.to_datetime(["2026-01-31"])})
VALID = {
    "id": "1",
    "inputs": [
        tensor("rows", "FP32", [2, 2], [[1, 2], [3, 4]]),
        tensor("x", "FP64", [1, 1], [0.5]),
        tensor("name", "BYTES", [1], ["a"]),
        tensor("day", "BYTES", [1], ["2026-01-31"]),
        {"name": "bits", "datatype": "BOOL", "shape": [3], "parameters": {"binary_data_size": 3}},
        {"name": "words", "datatype": "BYTES", "shape": [1], "parameters": {"binary_data_size": 6}},
    ],
    "outputs": [{"name": "output-0", "parameters": {"binary_data": True}}],
    "parameters": {"k": 1},
}
REST = b"\0\1\0\2\0\0\0\xc3\xa9"
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(-4, 10)
    | st.floats()
    | st.text(max_size=5)
    | st.sampled_from(["BYTES", "BOOL", "FP64", "INT8", "UINT64", "FP16", "name", "2026-01-31", 2**64]),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["name", "data", "k"]), inner, max_size=2)
    ),
    max_leaves=8,
)


@pytest.fixture(scope="module")
def scripts() -> list[ScriptInputs]:
    """A decorated and a typed script that take the same."""

    def decorated(rows: Any, table: Any, bits: Any, words: Any, k: int = 0) -> Any:
        return rows, table, bits, words, k

    def typed(
        rows: Annotated[Any, Array("float32", "n 2")],
        table: Annotated[Any, Frame(x="float64", name="object", day="datetime64[ns]")],
        bits: Annotated[Any, Array("bool")],
        words: Annotated[Any, Array("str", "n")],
        k: int = 0,
    ) -> Any:
        return rows, table, bits, words, k

    samples = {
        "rows": NumpyParameterType(np.zeros((1, 2), np.float32)),
        "table": PandasParameterType(TABLE),
        "bits": NumpyParameterType(np.array([True])),
        "words": NumpyParameterType(np.array(["a"])),
    }
    run: Any = decorated
    for name, sample in samples.items():
        run = input_schema(name, sample)(run)
    found = [script_inputs(script_of(run)), script_inputs(script_of(typed))]
    return [each for each in found if each is not None]


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the path of every value within a value."""
    yield path
    parts = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, part in parts:
        yield from places(part, (*path, key))


PLACES = [path for path in places(VALID) if path]


def changed(changes: list[tuple[tuple[Any, ...], Any]]) -> Any:
    """Return the valid request with other values at these places, as far as there are such places still."""
    content: Any = copy.deepcopy(VALID)
    for path, value in changes:
        place = content
        try:
            for key in path[:-1]:
                place = place[key]
            place[path[-1]] = value
        except (LookupError, TypeError):
            continue
    return content


def taken(scripts: list[ScriptInputs], body: bytes, length: bytes | None) -> list[bool]:
    """Return which scripts take a request; any other error than that of bad input is the test's failure."""
    found = []
    for script in scripts:
        try:
            script.arguments(inference_body.read(body, length))
            found.append(True)
        except BadInputError:
            found.append(False)
    return found


def test_the_request_that_is_changed_is_valid(scripts: list[ScriptInputs]) -> None:
    """The request that the others are made of is taken by both scripts."""
    text = json.dumps(VALID).encode()
    assert taken(scripts, text + REST, str(len(text)).encode()) == [True, True]


@settings(deadline=None, max_examples=300)
@given(changes=st.lists(st.tuples(st.sampled_from(PLACES), VALUES), min_size=1, max_size=2))
def test_other_values_anywhere(scripts: list[ScriptInputs], changes: list[tuple[tuple[Any, ...], Any]]) -> None:
    """A request with any other values in it is taken or bad input."""
    text = json.dumps(changed(changes)).encode()
    assert len(taken(scripts, text + REST, str(len(text)).encode())) == 2


@settings(deadline=None, max_examples=200)
@given(data=st.data())
def test_other_bytes_anywhere(scripts: list[ScriptInputs], data: st.DataObject) -> None:
    """A body that is cut, longer, or has other bytes in it, and any length of its JSON, is taken or bad input."""
    text = json.dumps(VALID).encode()
    body = bytearray(text + REST)
    for at in data.draw(st.lists(st.integers(0, len(body) - 1), max_size=3)):
        body[at] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(body)) | st.just(len(body)))
    added = data.draw(st.binary(max_size=3))
    length = data.draw(st.none() | st.just(str(len(text)).encode()) | st.integers(0, 2000).map(lambda n: b"%d" % n))
    assert len(taken(scripts, bytes(body[:cut]) + added, length)) == 2
