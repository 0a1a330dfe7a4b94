"""What scripts take, as tensors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

import numpy as np
import pandas as pd
import pytest
from inference_schema import schema_decorators
from inference_schema.parameter_types.numpy_parameter_type import NumpyParameterType
from inference_schema.parameter_types.pandas_parameter_type import PandasParameterType
from inference_schema.parameter_types.standard_py_parameter_type import StandardPythonParameterType

from azmlinfsrv.arrays import Array, Frame
from azmlinfsrv.errors import BadInputError, InvalidInputError
from azmlinfsrv.inference_body import Inference, Tensor
from azmlinfsrv.tensor_inputs import ScriptInputs, script_inputs
from tests.unit.inference_stage import script_of

pytestmark = pytest.mark.usefixtures("_own_schemas")

Run = Callable[..., Any]
input_schema: Callable[..., Callable[[Run], Run]] = schema_decorators.input_schema

PEOPLE = pd.DataFrame({"age": [1.5], "name": ["a"], "n": [1], "vip": [True]})
DATED = pd.DataFrame(
    {"day": pd.to_datetime(["2026-01-31"]), "kind": pd.Categorical(["a"]), "m": pd.array([1], "Int64")}
)


def inputs_of(run: Run) -> ScriptInputs:
    """Return what a script takes."""
    found = script_inputs(script_of(run))
    assert found is not None
    return found


def taking(part: Any, **options: Any) -> Run:
    """Return a decorated function of one parameter."""

    def run(data: Any) -> Any:
        return data

    return input_schema("data", part, **options)(run)


def specs_of(inputs: ScriptInputs) -> list[tuple[str, str, list[int]]]:
    """Return name, datatype and shape of the tensors."""
    return [(each["name"], each["datatype"], each["shape"]) for each in (spec.metadata() for spec in inputs.specs)]


def arguments(inputs: ScriptInputs, *sent: Tensor, **parameters: Any) -> dict[str, Any]:
    """Return the arguments that tensors make."""
    return inputs.arguments(Inference(None, {each.name: each for each in sent}, parameters, None, is_binary=False))


def t(name: str, datatype: str, data: list[Any], shape: tuple[int, ...] | None = None) -> Tensor:
    """Return a tensor of one dimension, or of this shape."""
    return Tensor(name, datatype, (len(data),) if shape is None else shape, data)


@pytest.mark.parametrize(
    ("sample", "datatype", "sent", "expected"),
    [
        (np.array([True]), "BOOL", [True, False], np.array([True, False])),
        (np.array([1], np.uint8), "UINT8", [1, 255], np.array([1, 255], np.uint8)),
        (np.array([1], np.int32), "INT32", [-1], np.array([-1], np.int32)),
        (np.array([1.5], np.float16), "FP16", [0.5], np.array([0.5], np.float16)),
        (np.array([1.5], np.float32), "FP32", [0.1], np.array([0.1], np.float32)),
        (np.array(["abc"]), "BYTES", ["é", "x"], np.array(["é", "x"])),
        (np.array([b"abc"]), "BYTES", [b"\xff"], np.array([b"\xff"])),
        (np.array(["a", 1], object), "BYTES", ["a"], np.array(["a"], object)),
        (np.array([b"a"], object), "BYTES", [b"\xff\0"], np.array([b"\xff\0"], object)),
        (np.array([b"a"], object), "BYTES", ["é"], np.array(["é".encode()], object)),
        (np.array([b"a"]), "BYTES", ["long"], np.array([b"long"])),
        (np.array(["a"]), "BYTES", ["long"], np.array(["long"])),
        (np.array(["2026-01-31"], "datetime64[D]"), "BYTES", ["2025-12-24"], np.array(["2025-12-24"], "datetime64[D]")),
    ],
    ids=str,
)
def test_arrays_of_decorated_scripts(sample: Any, datatype: str, sent: list[Any], expected: Any) -> None:
    """An array has the datatype of its sample, any number of rows, and comes as the sample's dtype."""
    inputs = inputs_of(taking(NumpyParameterType(sample)))
    assert specs_of(inputs) == [("data", datatype, [-1])]
    if isinstance(sent[0], bytes):
        array = np.empty(len(sent), object)
        array[:] = sent
        body = b"".join(len(each).to_bytes(4, "little") + each for each in sent)
        found = arguments(inputs, Tensor("data", datatype, (len(sent),), memoryview(body)))["data"]
    else:
        found = arguments(inputs, t("data", datatype, sent))["data"]
    assert found.dtype == expected.dtype or datatype == "BYTES"
    np.testing.assert_array_equal(found, expected)
    other = "BYTES" if datatype != "BYTES" else "FP32"
    if sample.dtype != object:
        with pytest.raises(BadInputError, match=f"datatype {other}, expected {datatype}"):
            arguments(inputs, t("data", other, sent))


def test_arrays_that_may_be_anything() -> None:
    """Where the schema enforces neither type nor shape, the metadata has those of the sample, and all are taken."""
    free = NumpyParameterType(np.zeros((1, 2)), enforce_column_type=False, enforce_shape=False)
    inputs = inputs_of(taking(free))
    assert specs_of(inputs) == [("data", "FP64", [-1, -1])]
    found = arguments(inputs, t("data", "INT8", [1, 2, 3], (3,)))["data"]
    assert found.dtype == np.int8 and found.tolist() == [1, 2, 3]


@pytest.mark.parametrize("data", [[1, 2], [[1], [2]], memoryview(b"\1\0\2\0")], ids=["flat", "nested", "binary"])
def test_columns_as_arrays_of_one_dimension(data: Any) -> None:
    """An array of one dimension may come as one column, as MLServer's clients send it."""
    inputs = inputs_of(taking(NumpyParameterType(np.array([1], np.int16))))
    assert arguments(inputs, Tensor("data", "INT16", (2, 1), data))["data"].tolist() == [1, 2]
    free = NumpyParameterType(np.array([1], np.int16), enforce_shape=False)
    assert arguments(inputs_of(taking(free)), Tensor("data", "INT16", (2, 1), data))["data"].shape == (2, 1)


def test_frames_of_decorated_scripts() -> None:
    """A frame is a tensor a column, sent as rows or as a column of them; it gets the sample's types and order."""
    inputs = inputs_of(taking(PandasParameterType(PEOPLE)))
    assert specs_of(inputs) == [
        ("age", "FP64", [-1]),
        ("name", "BYTES", [-1]),
        ("n", "INT64", [-1]),
        ("vip", "BOOL", [-1]),
    ]
    sent = [
        t("vip", "BOOL", [False, True]),
        t("n", "INT64", [[2], [3]], (2, 1)),
        t("name", "BYTES", ["é", "y"], (2, 1)),
        t("age", "FP64", [2.5, None]),
    ]
    frame = arguments(inputs, *sent)["data"]
    expected = pd.DataFrame({"age": [2.5, np.nan], "name": ["é", "y"], "n": [2, 3], "vip": [False, True]})
    pd.testing.assert_frame_equal(frame, expected.astype(PEOPLE.dtypes.to_dict()))


def test_frames_of_other_types() -> None:
    """Dates and categories are texts, nullable numbers are numbers."""
    inputs = inputs_of(taking(PandasParameterType(DATED)))
    assert specs_of(inputs) == [("day", "BYTES", [-1]), ("kind", "BYTES", [-1]), ("m", "INT64", [-1])]
    frame = arguments(inputs, t("day", "BYTES", ["2025-12-24"]), t("kind", "BYTES", ["a"]), t("m", "INT64", [3]))[
        "data"
    ]
    assert frame.day[0] == pd.Timestamp("2025-12-24") and frame.m.dtype == "Int64" and frame.m[0] == 3
    with pytest.raises(BadInputError, match="'data' parameter is not valid"):
        arguments(inputs, t("day", "BYTES", ["no day"]), t("kind", "BYTES", ["a"]), t("m", "INT64", [3]))


@pytest.mark.parametrize("orient", ["split", "columns", "index", "values", "records"])
@pytest.mark.parametrize("named", [False, True])
def test_frames_of_any_orientation(orient: str, named: bool) -> None:
    """However a frame would look in JSON, its tensors are the columns."""
    part = PandasParameterType(PEOPLE[["age", "n"]], orient=orient)
    part.apply_column_names = named  # inference-schema warns of the argument
    inputs = inputs_of(taking(part))
    frame = arguments(inputs, t("age", "FP64", [2.5]), t("n", "INT64", [2]))["data"]
    pd.testing.assert_frame_equal(frame, pd.DataFrame({"age": [2.5], "n": [2]}))


@pytest.mark.parametrize(
    ("sent", "reason"),
    [
        ([t("age", "FP64", [1.0])], "input 'name' is missing"),
        ([t("data", "FP64", [1.0])], "there is no input 'data', but 'age', 'name'"),
        ([t("age", "FP64", [1.0, 2.0], (1, 2))], "is missing"),
    ],
)
def test_frames_that_are_not_whole(sent: list[Tensor], reason: str) -> None:
    """Every column has to be there, and no other."""
    with pytest.raises(BadInputError, match=reason):
        arguments(inputs_of(taking(PandasParameterType(PEOPLE[["age", "name"]]))), *sent)


def test_columns_that_do_not_fit() -> None:
    """Columns of different lengths or of two dimensions are refused, and bytes that are no text."""
    inputs = inputs_of(taking(PandasParameterType(PEOPLE[["age", "name"]])))
    name = t("name", "BYTES", ["x"])
    with pytest.raises(BadInputError, match="the same length"):
        arguments(inputs, t("age", "FP64", [1.0, 2.0]), name)
    with pytest.raises(BadInputError, match=r"the shape \[1, 2\], expected \[-1\]"):
        arguments(inputs, t("age", "FP64", [1.0, 2.0], (1, 2)), name)
    with pytest.raises(BadInputError, match="input 'name': an element of BYTES is not UTF-8"):
        arguments(inputs, t("age", "FP64", [1.0]), Tensor("name", "BYTES", (1,), memoryview(b"\1\0\0\0\xff")))


def test_numbers_as_names_of_columns() -> None:
    """Columns that are numbers have these as their names, and stay numbers in the frame."""
    inputs = inputs_of(taking(PandasParameterType(pd.DataFrame([[1.5, 2.5]]))))
    assert [spec.name for spec in inputs.specs] == ["0", "1"]
    frame = arguments(inputs, t("0", "FP64", [1.0]), t("1", "FP64", [2.0]))["data"]
    assert list(frame.columns) == [0, 1] and frame[1].tolist() == [2.0]


def test_several_parameters() -> None:
    """Each array and frame has its tensors; other parameters come from the request's parameters, or are as ever."""

    def run(rows: Any, table: Any, limit: int, mode: str = "fast") -> Any:
        return rows, table, limit, mode

    run = input_schema("rows", NumpyParameterType(np.zeros((1, 2), np.float32)))(run)
    run = input_schema("table", PandasParameterType(PEOPLE[["age"]]))(run)
    run = input_schema("limit", StandardPythonParameterType(1))(run)
    inputs = inputs_of(run)
    assert specs_of(inputs) == [("rows", "FP32", [-1, 2]), ("age", "FP64", [-1])]
    sent = [t("rows", "FP32", [1, 2], (1, 2)), t("age", "FP64", [3.0])]
    found = arguments(inputs, *sent, limit=5, other=1)
    assert found["limit"] == 5 and found["mode"] == "fast"
    assert run(**found)[1].age.tolist() == [3.0]
    assert arguments(inputs, *sent, limit=5, mode="slow")["mode"] == "slow"
    with pytest.raises(BadInputError, match="a value of 'limit' is missing among the parameters"):
        arguments(inputs, *sent)


def test_names_that_two_tensors_would_have() -> None:
    """Where two tensors would have the same name, all have the parameter's before their own."""

    def run(a: Any, b: Any) -> Any:
        return a, b

    run = input_schema("a", PandasParameterType(PEOPLE[["age"]]))(run)
    run = input_schema("b", PandasParameterType(PEOPLE[["age", "n"]]))(run)
    assert [spec.name for spec in inputs_of(run).specs] == ["a.age", "b.age", "b.n"]


def test_frames_within_an_object() -> None:
    """A parameter that is an object of frames and arrays, as AutoML's scripts have it, is made of their tensors."""

    def run(Inputs: Any, GlobalParameters: Any = 1.0) -> Any:  # noqa: N803 - AutoML's names
        return Inputs["data"], GlobalParameters

    nested = StandardPythonParameterType({"data": PandasParameterType(PEOPLE[["age", "name"]])})
    run = input_schema("Inputs", nested)(run)
    run = input_schema("GlobalParameters", StandardPythonParameterType(1.0), convert_to_provided_type=False)(run)
    inputs = inputs_of(run)
    assert [spec.name for spec in inputs.specs] == ["age", "name"]
    frame, own = run(**arguments(inputs, t("age", "FP64", [2.5]), t("name", "BYTES", ["x"])))
    assert frame.to_dict(orient="records") == [{"age": 2.5, "name": "x"}] and own == 1.0


@pytest.mark.parametrize("part", [NumpyParameterType(np.zeros((1, 2))), PandasParameterType(PEOPLE[["age", "n"]])])
@pytest.mark.parametrize("options", [{"optional": True}, {"convert_to_provided_type": False}], ids=str)
def test_what_inference_schema_converts_itself(part: Any, options: dict[str, Any]) -> None:
    """A parameter that is optional or not converted gets what JSON would have been, which run() is called with."""

    def run(data: Any = None) -> Any:
        return data

    run = input_schema("data", part, **options)(run)
    inputs = inputs_of(run)
    if isinstance(part, NumpyParameterType):
        found = arguments(inputs, t("data", "FP64", [1, 2], (1, 2)))
        assert found == {"data": [[1.0, 2.0]]}
    else:
        found = arguments(inputs, t("age", "FP64", [1.5]), t("n", "INT64", [2]))
        assert found == {"data": [{"age": 1.5, "n": 2}]}
    result = run(**found)
    assert type(result) is (list if "convert_to_provided_type" in options else type(part.sample_input))
    assert arguments(inputs) == {"data": None}


Rows = Annotated[np.ndarray, Array("float32", "n 2")]
People = Annotated[pd.DataFrame, Frame(age="float64", name="object", n="int64")]


def test_typed_arrays() -> None:
    """An array of a typed script has its datatype and shape, checked in the protocol's words."""

    def run(rows: Rows, scale: float = 1.0) -> Any:
        return rows * scale

    inputs = inputs_of(run)
    assert specs_of(inputs) == [("rows", "FP32", [-1, 2])]
    found = arguments(inputs, t("rows", "FP32", [1, 2], (1, 2)), scale=2)
    assert found["rows"].dtype == np.float32 and found["scale"] == 2.0
    with pytest.raises(BadInputError, match="datatype FP64, expected FP32"):
        arguments(inputs, t("rows", "FP64", [1, 2], (1, 2)))
    with pytest.raises(InvalidInputError, match="scale"):
        arguments(inputs, t("rows", "FP32", [1, 2], (1, 2)), scale="fast")
    with pytest.raises(BadInputError, match="input 'rows' is missing"):
        arguments(inputs)


def test_typed_shapes() -> None:
    """Equal names are equal sizes, a scalar has no dimension, and an array of any shape takes any."""

    def run(
        a: Annotated[Any, Array("int8", "n n")], b: Annotated[Any, Array("bool", "")], c: Annotated[Any, Array()]
    ) -> Any:
        return a, b, c

    inputs = inputs_of(run)
    assert specs_of(inputs) == [("a", "INT8", [-1, -1]), ("b", "BOOL", []), ("c", "FP64", [-1])]
    rest = [t("b", "BOOL", [True], ()), t("c", "FP64", [1.5, 2.5], (1, 2, 1))]
    found = arguments(inputs, t("a", "INT8", [1], (1, 1)), *rest)
    assert found["b"].item() is True and found["c"].shape == (1, 2, 1)
    with pytest.raises(InvalidInputError, match="expected the shape"):
        arguments(inputs, t("a", "INT8", [1, 2], (1, 2)), *rest)


def test_typed_texts_and_frames() -> None:
    """Texts and frames of typed scripts are tensors, too."""

    def run(words: Annotated[Any, Array("str", "n")], people: People) -> Any:
        return words, people

    inputs = inputs_of(run)
    assert [spec.name for spec in inputs.specs] == ["words", "age", "name", "n"]
    found = arguments(
        inputs,
        Tensor("words", "BYTES", (1,), memoryview(b"\2\0\0\0\xc3\xa9")),
        t("age", "FP64", [None, 1.5]),
        t("name", "BYTES", ["x", "y"]),
        t("n", "INT64", [1, 2]),
    )
    assert found["words"].tolist() == ["é"] and found["people"].name.tolist() == ["x", "y"]
    assert str(found["people"].n.dtype) == "int64" and found["people"].age.isna().tolist() == [True, False]


def test_scripts_without_arrays_and_frames() -> None:
    """A script that takes neither an array nor a frame has no tensors."""

    def typed(number: int) -> int:
        return number

    def nested(data: Any) -> Any:
        return data

    assert script_inputs(script_of(typed)) is None
    assert script_inputs(script_of(lambda data: data)) is None
    assert script_inputs(script_of(input_schema("data", StandardPythonParameterType({"a": 1}))(nested))) is None
