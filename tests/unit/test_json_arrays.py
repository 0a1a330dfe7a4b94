"""Arrays straight from JSON: the same as through Python's lists, or not at all."""

from __future__ import annotations

import builtins
import inspect
import json
import math
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from inference_schema import schema_decorators
from inference_schema.parameter_types.numpy_parameter_type import NumpyParameterType
from inference_schema.parameter_types.standard_py_parameter_type import StandardPythonParameterType

from azmlinfsrv import codec, json_arrays
from azmlinfsrv.json_arrays import ArrayReader, array_reader

pytestmark = pytest.mark.usefixtures("_own_schemas")

properties = settings(deadline=None, max_examples=200)
PADDING = b" " * 4096
Decorate = Callable[..., Callable[[Callable[..., Any]], Callable[..., Any]]]
input_schema: Decorate = schema_decorators.input_schema
WIDE = st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(2**70), 2**70)


def decorated_with(sample: Any, **options: Any) -> Any:
    """Return a `run()` with an array and a factor."""

    @input_schema("data", NumpyParameterType(sample), **options)
    @input_schema("factor", StandardPythonParameterType(1))
    def run(data: Any, factor: int = 1) -> Any:
        return data * factor

    return run


def reader_of(run: Any) -> ArrayReader | None:
    """Return the reader of a `run()`."""
    return array_reader(run, list(inspect.signature(run).parameters.values()))


def read(sample: Any, body: bytes) -> dict[str, Any] | None:
    """Return what is read of a body that is long enough."""
    reader = reader_of(decorated_with(sample))
    assert reader is not None
    return reader.read(body + PADDING)


def assert_as_usual(sample: Any, body: bytes) -> None:
    """Check that what is read is what inference-schema makes of the same body."""
    found = read(sample, body)
    if found is None:
        return
    usual = NumpyParameterType(sample).deserialize_input(codec.loads(body)["data"])
    data = found["data"]
    assert (data.dtype, data.shape, data.tobytes()) == (usual.dtype, usual.shape, usual.tobytes())
    assert data.flags.writeable and data.flags.c_contiguous


@pytest.mark.parametrize("dtype", ["float64", "float32", "int64"])
@properties
@given(rows=st.lists(st.lists(WIDE, min_size=2, max_size=2), min_size=1, max_size=4))
@example(rows=[[0.1, -0.0]])
@example(rows=[[2**53 + 1, 2**63]])
@example(rows=[[5e-324, 1.7976931348623157e308]])
def test_numbers_are_the_same_to_the_bit(dtype: str, rows: list[list[Any]]) -> None:
    """Whatever is read is to the bit what the usual way gives."""
    with np.errstate(over="ignore"):
        assert_as_usual(np.ones((1, 2), dtype=dtype), json.dumps({"data": rows}).encode())


@pytest.mark.parametrize("shape", [(3,), (1, 1), (2, 3), (2, 1, 4), (1, 2, 3, 4)])
def test_shapes_are_read(shape: tuple[int, ...]) -> None:
    """Arrays of any number of dimensions are read, with other parameters beside them."""
    array = np.arange(math.prod(shape), dtype="float64").reshape(shape)
    found = read(array, json.dumps({"factor": 3, "data": array.tolist(), "more": None}).encode())
    assert found is not None
    assert found["factor"] == 3 and found.keys() == {"data", "factor"}
    np.testing.assert_array_equal(found["data"], array)


def test_a_default_is_used() -> None:
    """A parameter that the body lacks has its default."""
    found = read(np.ones((1, 2)), b'{"data": [[1, 2]]}')
    assert found is not None and found["factor"] == 1


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[[1, 2]]",
        b"null",
        b'{"factor": 1}',
        b'{"data": []}',
        b'{"data": [[]]}',
        b'{"data": [[], []]}',
        b'{"data": 1}',
        b'{"data": "text"}',
        b'{"data": {"a": 1}}',
        b'{"data": [[1, 2], [3]]}',
        b'{"data": [[1, 2], 3]}',
        b'{"data": [[1, 2], "ab"]}',
        b'{"data": [[1, 2], {"a": 3, "b": 4}]}',
        b'{"data": [1, [2]]}',
        b'{"data": [[1, [2]]]}',
        b'{"data": [[[1], 2]]}',
        b'{"data": [[1, null]]}',
        b'{"data": [[1, true]]}',
        b'{"data": [[1, "2"]]}',
        b'{"data": [[1, {"a": 2}]]}',
        b'{"data": [[1, NaN]]}',
        b'{"data": [[1, Infinity]]}',
        b'{"data": [[1, 1e400]]}',
        b'{"data": [[1, 123456789012345678901234567890]]}',
        b'{"data": [[1, 2, 3]]}',
        b'{"data": [1, 2]}',
        b'{"data": [[1, 2]], "data": [[3, 4]]}',
        b'{"data": [[1, 2]], "factor": [1]}',
        b'{"data": [[1, 2]], "factor": {"a": 1}}',
        b'{"data": [[1, 2]], "factor": "\\ud800"}',
        b'{"data": [[1, 2]], "factor": "\xff"}',
        b'{"data": ' + b"[" * 2000 + b"]" * 2000 + b"}",
    ],
)
def test_everything_else_goes_the_usual_way(body: bytes) -> None:
    """What is no rectangular array of numbers, or what simdjson reads otherwise, is not read here."""
    assert read(np.ones((1, 2)), body) is None


def test_a_reader_goes_on_after_a_bad_body() -> None:
    """A body that cannot be read does not spoil the next, and parsers are kept and used again."""
    reader = reader_of(decorated_with(np.ones((1, 2))))
    assert reader is not None
    good = json.dumps({"data": [[1.5, 2.5]] * 1000}).encode()
    for body in (good, b'{"data": [[1, "x"]]}' + PADDING, good, b"{" + PADDING, good):
        found = reader.read(body)
        if body is good:
            assert found is not None and found["data"].sum() == 4000
    first = reader.read(good)
    second = reader.read(json.dumps({"data": [[7, 7]] * 1000}).encode())
    assert first is not None and second is not None
    assert first["data"].max() == 2.5, "an array shares memory with the one that was read behind it"


def test_short_bodies_go_the_usual_way() -> None:
    """For a row or two the usual way is quicker."""
    reader = reader_of(decorated_with(np.ones((1, 2))))
    assert reader is not None and reader.read(b'{"data": [[1, 2]]}') is None


@pytest.mark.parametrize(
    "run",
    [
        decorated_with(np.ones((1, 2), dtype="int32")),
        decorated_with(np.ones((1, 2), dtype=">f8")),
        decorated_with(np.array([["a"]])),
        decorated_with(np.ones((1, 2)), optional=True),
        decorated_with(np.ones((1, 2)), convert_to_provided_type=False),
    ],
    ids=["int32", "big-endian", "text", "optional", "not converted"],
)
def test_scripts_that_must_see_json(run: Any) -> None:
    """Types that need more than a cast, and parameters that inference-schema may not convert, are left alone."""
    assert reader_of(run) is None


def test_a_decorator_of_the_users_own_sees_json() -> None:
    """Behind a decorator of the user's own, which may look at its input, nothing is read here."""
    inner = decorated_with(np.ones((1, 2)))

    def run(data: Any, factor: int = 1) -> Any:
        return inner(data=data, factor=factor)

    run.__wrapped__ = inner  # type: ignore[attr-defined]  # as functools.wraps does
    assert reader_of(run) is None


def test_without_simdjson(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the extra is not installed, there is no reader."""
    real = builtins.__import__

    def refuse(name: str, *args: Any, **kwargs: Any) -> Any:
        if name == "simdjson":
            raise ModuleNotFoundError(name)
        return real(name, *args, **kwargs)

    monkeypatch.delitem(sys.modules, "simdjson", raising=False)
    monkeypatch.setattr(builtins, "__import__", refuse)
    assert json_arrays.array_reader(decorated_with(np.ones((1, 2))), []) is None
