"""Bodies of binary types: which parameter they are, and how they are checked."""

from __future__ import annotations

import inspect
import io
import typing
from collections.abc import Callable
from typing import Annotated, Any

import numpy as np
import pandas as pd
import pytest
from inference_schema import schema_decorators
from inference_schema.parameter_types.numpy_parameter_type import NumpyParameterType
from inference_schema.parameter_types.pandas_parameter_type import PandasParameterType
from inference_schema.parameter_types.standard_py_parameter_type import StandardPythonParameterType
from openapi_spec_validator import OpenAPIV31SpecValidator

from azmlinfsrv import binary
from azmlinfsrv.arrays import Array, Frame
from azmlinfsrv.binary import ARROW, NPY, RAW
from azmlinfsrv.binary_inputs import BinaryInput, decorated_input, typed_input
from azmlinfsrv.errors import BadInputError, InvalidInputError, RequestError, UnsupportedInputError
from azmlinfsrv.inputs import schema_arguments, typed_arguments
from azmlinfsrv.messages import Request
from azmlinfsrv.schema import Swagger
from azmlinfsrv.settings import Settings
from azmlinfsrv.typed import TypedRun

pytestmark = pytest.mark.usefixtures("_own_schemas")

ARRAY = np.array([[1.5, 2.5], [3.5, 4.5], [5.5, 6.5]])
FRAME = pd.DataFrame({"a": [1.5, 2.5], "b": [1, 2]})
SAMPLE = NumpyParameterType(ARRAY[:1])

JSON = "application/json"
Run = Callable[..., Any]
input_schema: Callable[..., Callable[[Run], Run]] = schema_decorators.input_schema


def npy(array: Any) -> bytes:
    """Return an array as a file."""
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def arrow(frame: Any) -> bytes:
    """Return a frame as a stream."""
    written = binary.write_arrow(frame)
    assert written is not None
    return written


def a_request(body: bytes, content_type: str) -> Request:
    """Return a POST."""
    fields = {b"content-type": content_type.encode()}
    return Request("POST", b"/score", "/score", b"", fields, body, "1.1", ("192.0.2.1", 1234), 0.0)


def parameters_of(run: Run) -> list[inspect.Parameter]:
    """Return the parameters of a function."""
    return list(inspect.signature(run).parameters.values())


def taking(part: Any, name: str = "data", **options: Any) -> Run:
    """Return a decorated function of one parameter."""

    @input_schema(name, part, **options)
    def run(data: Any) -> Any:
        return data

    return run


def typed(run: Run) -> tuple[TypedRun, BinaryInput | None]:
    """Return a typed function, and what reads its binary bodies."""
    parameters = parameters_of(run)
    made = TypedRun(run, parameters, typing.get_type_hints(run, include_extras=True))
    return made, typed_input(made)


def scored(run: Run, body: bytes, content_type: str) -> Any:
    """Return what a decorated or typed function returns for a body, and the error that it is refused with."""
    request = a_request(body, content_type)
    try:
        if hasattr(run, "_self_wrapper"):
            found = decorated_input(run, parameters_of(run))
            return run(
                **schema_arguments(request, parameters_of(run), None, None if found is None else found.arguments)
            )
        made, found = typed(run)
        return run(**typed_arguments(request, made, None if found is None else found.arguments))
    except RequestError as error:
        return error


def typed_array(data: Annotated[np.ndarray, Array("float64", "n 2")], factor: int = 2) -> Any:
    """Multiply."""
    return data * factor


def typed_frame(data: Annotated[pd.DataFrame, Frame(a="float64", b="int64", c="object")]) -> Any:
    """Return the frame."""
    return data


# -- Arrays ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("body", "kind"), [(npy(ARRAY), NPY), (ARRAY.tobytes(), RAW), (npy(ARRAY), f"{NPY}; x=y")])
def test_an_array_is_the_parameter(body: bytes, kind: str) -> None:
    """A body of numbers is the array of a decorated or typed function; other parameters have their defaults."""
    np.testing.assert_array_equal(scored(taking(SAMPLE), body, kind), ARRAY)
    np.testing.assert_array_equal(scored(typed_array, body, kind), ARRAY * 2)


@pytest.mark.parametrize(("body", "kind"), [(npy(ARRAY), NPY), (ARRAY.tobytes(), RAW)])
def test_an_array_is_not_copied(body: bytes, kind: str) -> None:
    """The array that run() gets lies within the body."""
    data = scored(taking(SAMPLE), body, kind)
    assert np.shares_memory(data, np.frombuffer(body, np.uint8))


@pytest.mark.parametrize(
    ("array", "dtype"),
    [(ARRAY.astype("float32"), "float64"), (ARRAY.astype(">f8"), "float64"), (ARRAY.astype("int16"), "float32")],
)
def test_other_types_of_numbers_are_converted(array: Any, dtype: str) -> None:
    """A type that can be converted without loss of what it is, is converted."""
    found = scored(taking(NumpyParameterType(np.ones((1, 2), dtype=dtype))), npy(array), NPY)
    assert found.dtype == dtype
    np.testing.assert_array_equal(found, array)


@pytest.mark.parametrize(
    ("sample", "array", "reason"),
    [
        ("float64", np.ones((3, 3)), "got the shape (3, 3)"),
        ("float64", np.ones(2), "got the shape (2,)"),
        ("float64", np.ones((1, 2), dtype=bool), "found booleans"),
        ("int64", ARRAY, "a number is not an integer, or out of range"),
        ("uint8", np.array([[1, 256]]), "a number is not an integer, or out of range"),
        ("bool", np.array([[1, 0]]), "found integers"),
    ],
)
def test_arrays_that_do_not_fit(sample: str, array: Any, reason: str) -> None:
    """Another shape, or numbers that would change, are a 400 that names parameter, expectation and reason."""
    error = scored(taking(NumpyParameterType(np.ones((1, 2), dtype=sample))), npy(array), NPY)
    assert isinstance(error, BadInputError)
    start = f"The 'data' parameter is not valid. Expected an array of {sample} with the shape (*, 2): "
    assert error.message.startswith(start) and reason in error.message


def test_a_typed_array_that_does_not_fit() -> None:
    """For a typed function the error has the place, as with JSON."""
    error = scored(typed_array, npy(np.ones((1, 3))), NPY)
    assert isinstance(error, InvalidInputError)
    assert error.errors == [{"path": "data", "reason": "expected the shape (n 2), got (1, 3)", "received": "ndarray"}]


# -- Frames ------------------------------------------------------------------------------------------------------------


def test_a_frame_is_the_parameter() -> None:
    """A stream is the frame of a decorated or typed function, with the types that it enforces."""
    sent = FRAME.astype({"a": "float32", "b": "int16"})
    found = scored(taking(PandasParameterType(FRAME)), arrow(sent), ARROW)
    pd.testing.assert_frame_equal(found, FRAME)
    more = FRAME.assign(c=["x", "y"])
    pd.testing.assert_frame_equal(scored(typed_frame, arrow(more), ARROW), more.astype({"c": object}))


@pytest.mark.parametrize(
    ("frame", "reason"),
    [
        (FRAME.rename(columns={"b": "z"}), "unknown column 'z'"),
        (FRAME[["a"]], "found 1 columns, expected 2"),
        (FRAME.assign(b=["x", "y"]), "invalid literal"),
    ],
)
def test_frames_that_do_not_fit(frame: Any, reason: str) -> None:
    """Other columns, or values that cannot be converted, are a 400 that names parameter, expectation and reason."""
    error = scored(taking(PandasParameterType(FRAME)), arrow(frame), ARROW)
    assert isinstance(error, BadInputError)
    assert error.message.startswith("The 'data' parameter is not valid. Expected a data frame (records) with the col")
    assert reason in error.message


@pytest.mark.parametrize("frame", [FRAME, FRAME.assign(c=["x", "y"], b=[1.5, 2.5])])
def test_a_typed_frame_that_does_not_fit(frame: Any) -> None:
    """For a typed function the error has the place, as with JSON."""
    error = scored(typed_frame, arrow(frame), ARROW)
    assert isinstance(error, InvalidInputError) and error.errors[0]["path"] == "data"


def test_columns_keep_the_names_of_the_sample() -> None:
    """A sample whose columns have numbers for names gets them back from the texts that Arrow has."""
    sample = FRAME.set_axis([0, 1], axis=1)
    found = scored(taking(PandasParameterType(sample)), arrow(sample.rename(columns=str)), ARROW)
    pd.testing.assert_frame_equal(found, sample)


# -- What is refused ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "kind", "message"),
    [
        (b"", NPY, f"POST body is empty. Expecting {NPY}."),
        (b"x", NPY, f"POST body could not be decoded as {NPY}: not a .npy file"),
        (b"x", RAW, f"POST body could not be decoded as {RAW}: expected a multiple of 16 bytes, got 1"),
    ],
)
def test_bodies_that_are_not_what_they_say(body: bytes, kind: str, message: str) -> None:
    """A body that is not of its type is a 400 with the reason."""
    for run in (taking(SAMPLE), typed_array):
        error = scored(run, body, kind)
        assert isinstance(error, BadInputError) and error.message == message


@pytest.mark.parametrize(
    ("run", "kind", "message"),
    [
        (taking(SAMPLE), ARROW, f"Expects Content-Type to be application/json or {NPY} or {RAW}"),
        (typed_array, ARROW, f"Expects Content-Type to be application/json or {NPY} or {RAW}"),
        (taking(PandasParameterType(FRAME)), NPY, f"Expects Content-Type to be application/json or {ARROW}"),
        (typed_frame, RAW, f"Expects Content-Type to be application/json or {ARROW}"),
        (
            taking(NumpyParameterType(ARRAY, enforce_shape=False)),
            RAW,
            f"Expects Content-Type to be application/json or {NPY}",
        ),
        (taking(SAMPLE), "text/plain", "Expects Content-Type to be application/json"),
        (taking(SAMPLE, optional=True), NPY, "Expects Content-Type to be application/json"),
        (taking(NumpyParameterType(np.array(["a"]))), NPY, "Expects Content-Type to be application/json"),
        (taking(StandardPythonParameterType([1.5])), NPY, "Expects Content-Type to be application/json"),
    ],
)
def test_types_that_are_not_taken(run: Run, kind: str, message: str) -> None:
    """A type that the script cannot take is a 415 that lists those that it does; others keep the known message."""
    error = scored(run, npy(ARRAY), kind)
    assert isinstance(error, UnsupportedInputError) and error.message == message


def test_several_required_parameters_need_json() -> None:
    """Where a body could not say which parameter it is, or leave one without a value, only JSON is taken."""
    annotation = Annotated[np.ndarray, Array()]

    def two(a, b): ...  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    def other(a, b=1): ...  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    def either(a=None, b=None): ...  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202

    two.__annotations__ = either.__annotations__ = {"a": annotation, "b": annotation}
    other.__annotations__ = {"a": int, "b": annotation}
    assert [typed(run)[1] for run in (two, other, either)] == [None, None, None]


@pytest.mark.parametrize(
    ("array", "types"),
    [
        (Array(), (NPY,)),
        (Array("float32", "n 4"), (NPY, RAW)),
        (Array("float32", "2 4"), (NPY, RAW)),
        (Array("float32", ""), (NPY, RAW)),
        (Array("float32", "n n"), (NPY,)),
        (Array("float32", "n 0"), (NPY,)),
        (Array("U", "n"), (NPY,)),
    ],
)
def test_bare_numbers_need_a_known_shape(array: Array, types: tuple[str, ...]) -> None:
    """Bare numbers are only taken where one size of the shape at the most is open."""
    assert BinaryInput(array, lambda value: {"data": value}).media_types == types


def test_binary_types_are_described() -> None:
    """The description of a typed script lists the types of bodies and answers that it takes and gives."""

    def both(data: Annotated[np.ndarray, Array("f8", "n 2")]) -> Annotated[pd.DataFrame, Frame(a="float64")]:
        return pd.DataFrame({"a": data[:, 0]})

    def neither(data: list[float]) -> float:
        return sum(data)

    assert content_types(both) == ([JSON, NPY, RAW], [JSON, ARROW])
    assert content_types(neither) == ([JSON], [JSON])


def content_types(run: Run) -> tuple[list[str], list[str]]:
    """Return the types of bodies and of answers in the description of a typed function."""
    document = Swagger(Settings(), run, typed(run)[0]).document("3.1")
    OpenAPIV31SpecValidator(document).validate()
    operation = document["paths"]["/score"]["post"]
    return [*operation["requestBody"]["content"]], [*operation["responses"]["200"]["content"]]


def test_without_pyarrow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where pyarrow is missing, a stream is a 415 that says what to install."""
    monkeypatch.setattr(binary, "has_arrow", lambda: False)
    error = scored(taking(PandasParameterType(FRAME)), arrow(FRAME), ARROW)
    assert isinstance(error, UnsupportedInputError)
    assert error.message == f"{ARROW} needs pyarrow on the server. Run: pip install 'azmlinfsrv[arrow]'"
