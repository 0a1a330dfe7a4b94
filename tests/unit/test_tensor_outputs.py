"""Results as tensors."""

from __future__ import annotations

import datetime
import math
from collections.abc import Callable
from typing import Annotated, Any, NamedTuple

import flask
import numpy as np
import pandas as pd
import pydantic
import pytest
from inference_schema import schema_decorators
from inference_schema.parameter_types.numpy_parameter_type import NumpyParameterType
from inference_schema.parameter_types.pandas_parameter_type import PandasParameterType
from inference_schema.parameter_types.standard_py_parameter_type import StandardPythonParameterType

from azmlinfsrv import tensors
from azmlinfsrv.arrays import Array, Frame
from azmlinfsrv.tensor_outputs import described_outputs, result_tensors
from tests.unit.inference_stage import INFER, outputs_of, script_of, served, tensor

pytestmark = pytest.mark.usefixtures("_own_schemas")

input_schema: Callable[..., Callable[[Any], Any]] = schema_decorators.input_schema
output_schema: Callable[..., Callable[[Any], Any]] = schema_decorators.output_schema


class Pair(NamedTuple):
    """Two results."""

    left: Any
    right: Any


FRAME = pd.DataFrame({"a": [1.5], 2: ["x"], "c": pd.array([1], "Int64"), "d": pd.to_datetime(["2026-01-31"])})
OUT = "output-0"


@pytest.mark.parametrize(
    ("result", "expected"),
    [
        (None, []),
        (np.array([[1, 2]], np.int8), [(OUT, "INT8", [[1, 2]])]),
        (np.float32(1.5), [(OUT, "FP32", [1.5])]),
        (np.array(2.5), [(OUT, "FP64", 2.5)]),
        (np.array(["a", "b"]), [(OUT, "BYTES", ["a", "b"])]),
        (np.array(["2026-01-31"], "datetime64[D]"), [(OUT, "BYTES", ["2026-01-31"])]),
        (np.array([1.5], np.longdouble), [(OUT, "FP64", [1.5])]),
        (3, [(OUT, "INT64", [3])]),
        (True, [(OUT, "BOOL", [True])]),
        ("text", [(OUT, "BYTES", ["text"])]),
        (b"\xff", [(OUT, "BYTES", [b"\xff"])]),
        ([1, 2], [(OUT, "INT64", [1, 2])]),
        ([[1, 2.5], [3, 4]], [(OUT, "FP64", [[1.0, 2.5], [3.0, 4.0]])]),
        ([True], [(OUT, "BOOL", [True])]),
        (["a", "b"], [(OUT, "BYTES", ["a", "b"])]),
        ([["a", 0.5], ["b", 1]], [(OUT, "BYTES", [["a", "0.5"], ["b", "1"]])]),
        ([[1], [2, 3]], [(OUT, "BYTES", ["[1]", "[2,3]"])]),
        ([True, 1], [(OUT, "BYTES", ["true", "1"])]),
        ([np.float32(0.5), np.float32(1)], [(OUT, "FP32", [0.5, 1.0])]),
        ([2**70], [(OUT, "BYTES", [str(2**70)])]),
        ([], [(OUT, "BYTES", [])]),
        (
            {"a": [1.5], "b": "x", "c": {"d": 1}},
            [("a", "FP64", [1.5]), ("b", "BYTES", ["x"]), ("c", "BYTES", ['{"d":1}'])],
        ),
        ([{"a": 1, "b": "x"}, {"a": 2, "b": "y"}], [("a", "INT64", [1, 2]), ("b", "BYTES", ["x", "y"])]),
        ([{"a": 1}, {"b": 2}], [(OUT, "BYTES", ['{"a":1}', '{"b":2}'])]),
        ([{"a": [1, 2]}], [(OUT, "BYTES", ['{"a":[1,2]}'])]),
        (([1], [0.5]), [(OUT, "INT64", [1]), ("output-1", "FP64", [0.5])]),
        (Pair([1], ["a"]), [("left", "INT64", [1]), ("right", "BYTES", ["a"])]),
        (pd.Series([1.5], name="y"), [("y", "FP64", [1.5])]),
        (pd.Series([True]), [(OUT, "BOOL", [True])]),
        ({"y": pd.Series([1, 2])}, [("y", "INT64", [1, 2])]),
        (FRAME, [("a", "FP64", [1.5]), ("2", "BYTES", ["x"]), ("c", "INT64", [1]), ("d", "BYTES", ["2026-01-31T00"])]),
        (datetime.date(2026, 1, 31), [(OUT, "BYTES", ['"2026-01-31"'])]),
        (flask.Response("text"), [(OUT, "BYTES", [b"text"])]),
    ],
    ids=str,
)
def test_results(result: Any, expected: list[tuple[str, str, Any]]) -> None:
    """Numbers and texts become tensors of their kind, columns and keys tensors of their own, all else JSON texts."""
    found = [(name, tensors.datatype_of(array.dtype), array.tolist()) for name, array in result_tensors(result)]
    if len(found) == 4:  # pandas writes as many digits of a second as it holds
        found[3] = (*found[3][:2], [found[3][2][0][:13]])
    assert found == expected


def test_missing_values() -> None:
    """Numbers that are missing are NaN, texts that are missing the JSON text null."""
    frame = pd.DataFrame({"a": pd.array([1, None], "Int64"), "b": ["x", None], "c": pd.array([True, None], "boolean")})
    (_, a), (_, b), (_, c) = result_tensors(frame)
    assert a[0] == 1.0 and math.isnan(a[1]) and c[0] == 1.0 and math.isnan(c[1])
    assert b.tolist() == ["x", "null"]
    ((_, plain),) = result_tensors([1.5, None])
    assert plain[0] == 1.5 and math.isnan(plain[1])


@pytest.mark.parametrize("result", [object(), [object()], {"a": object()}, pd.DataFrame([[1, 2]], columns=["a", "a"])])
def test_results_that_are_none(result: Any) -> None:
    """What JSON cannot hold is an error, as it is for /score, and so are two columns of one name."""
    with pytest.raises((TypeError, ValueError)):
        result_tensors(result)


def described(run: Any) -> list[tuple[str, str, list[int]]]:
    """Return name, datatype and shape of what a script says that it returns."""
    return [(spec.name, spec.datatype, list(spec.shape)) for spec in described_outputs(script_of(run))]


@pytest.mark.parametrize(
    ("part", "expected"),
    [
        (NumpyParameterType(np.zeros((1, 3), np.float32)), [(OUT, "FP32", [-1, 3])]),
        (NumpyParameterType(np.array([1], np.uint8)), [(OUT, "UINT8", [-1])]),
        (NumpyParameterType(np.array(["a"])), [(OUT, "BYTES", [-1])]),
        (PandasParameterType(pd.DataFrame({"a": [1.5], "b": ["x"]})), [("a", "FP64", [-1]), ("b", "BYTES", [-1])]),
        (PandasParameterType(pd.DataFrame({"a": [1.5]}), orient="split"), [("a", "FP64", [-1])]),
        (StandardPythonParameterType([[1, 2]]), [(OUT, "INT64", [-1, 2])]),
        (StandardPythonParameterType({"label": ["a"], "p": [0.5]}), [("label", "BYTES", [-1]), ("p", "FP64", [-1])]),
        (StandardPythonParameterType("text"), [(OUT, "BYTES", [-1])]),
    ],
)
def test_outputs_of_decorated_scripts(part: Any, expected: Any) -> None:
    """The output schema's sample says what the outputs are, of any number of rows."""

    def run(data: Any) -> Any:
        return data

    assert described(output_schema(part)(input_schema("data", StandardPythonParameterType(1))(run))) == expected


class Label(pydantic.BaseModel):
    """A result."""

    label: str
    score: float


def test_outputs_of_typed_scripts() -> None:
    """The return annotation says what the outputs are; without one nothing does."""

    def array(a: int) -> Annotated[Any, Array("float32", "n 3")]:
        return a

    def frame(a: int) -> Annotated[Any, Frame(x="float64", y="object")]:
        return a

    def models(a: int) -> list[Label]:
        return [Label(label="a", score=a)]

    def nothing(a: int):  # type: ignore[no-untyped-def]  # noqa: ANN202
        return a

    assert described(array) == [(OUT, "FP32", [-1, 3])]
    assert described(frame) == [("x", "FP64", [-1]), ("y", "BYTES", [-1])]
    assert [name for name, _, _ in described(models)] == ["label", "score"]
    assert described(nothing) == []
    assert described(lambda data: data) == []


@pytest.mark.anyio
async def test_typed_results() -> None:
    """Models become outputs as JSON has them, arrays and frames keep their types, None has no outputs."""

    def run(rows: Annotated[Any, Array("float64", "n")]) -> Any:
        kind = int(rows[0])
        return [[Label(label="a", score=0.5)], rows.astype("float32"), None, pd.DataFrame({"x": rows})][kind]

    async with served(run) as client:
        found = [
            outputs_of(await client.post(INFER, json={"inputs": [tensor("rows", "FP64", [1], [kind])]}))
            for kind in range(4)
        ]
    assert found == [
        {"label": ("BYTES", [1], ["a"]), "score": ("FP64", [1], [0.5])},
        {OUT: ("FP32", [1], [1.0])},
        {},
        {"x": ("FP64", [1], [3.0])},
    ]
