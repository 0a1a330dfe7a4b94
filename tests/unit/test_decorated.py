"""Scripts with a schema: which types their parameters have, and whose fault an error is."""

from __future__ import annotations

import datetime
import functools
import itertools
import json
import logging
import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from inference_schema import schema_decorators
from inference_schema.parameter_types.abstract_parameter_type import AbstractParameterType
from inference_schema.parameter_types.numpy_parameter_type import NumpyParameterType
from inference_schema.parameter_types.pandas_parameter_type import PandasParameterType
from inference_schema.parameter_types.standard_py_parameter_type import StandardPythonParameterType

from azmlinfsrv import decorated
from azmlinfsrv.errors import BadInputError
from tests.unit.http_fakes import logged

pytestmark = pytest.mark.usefixtures("_own_schemas")

Decorate = Callable[..., Callable[[Callable[..., Any]], Callable[..., Any]]]
input_schema: Decorate = schema_decorators.input_schema
output_schema: Decorate = schema_decorators.output_schema

FRAME = pd.DataFrame({"a": [1.5], "b": [2]})
ARRAY = np.array([[1.0, 2.0]])


def answer_to(run: Callable[..., Any], **arguments: Any) -> BadInputError | None:
    """Return what the caller is told of the error that a call ends in; None where it is the script's own."""
    try:
        run(**arguments)
    except Exception as error:  # noqa: BLE001 - whatever it is, as the server takes it
        return decorated.conversion_error(error, run)
    pytest.fail("the call did not fail")


def message_to(run: Callable[..., Any], **arguments: Any) -> str:
    """Return the message that the caller gets."""
    error = answer_to(run, **arguments)
    assert error is not None, "the error was taken for the script's own"
    assert error.status == 400
    return error.message


def taking(parameter_type: AbstractParameterType, **options: Any) -> Callable[..., Any]:
    """Return a decorated function of one parameter, `data`, checked as the server does at the start."""

    @input_schema("data", parameter_type, **options)
    def run(data: Any) -> Any:
        return data

    decorated.check_columns(run)
    return run


def timed(function: Callable[..., Any]) -> Callable[..., Any]:
    """A decorator as users write it, without functools.wraps."""

    def call(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    return call


# -- What is decorated -----------------------------------------------------------------------------------------------


def test_what_is_decorated() -> None:
    """An input or an output schema makes a function decorated, under other decorators too."""

    def plain(data: Any) -> Any:
        return data

    @output_schema(StandardPythonParameterType(1))
    def output_only(data: Any) -> Any:
        return data

    assert not decorated.is_decorated(plain)
    assert decorated.is_decorated(taking(NumpyParameterType(ARRAY)))
    assert decorated.is_decorated(timed(taking(NumpyParameterType(ARRAY))))
    assert decorated.is_decorated(output_only)


def test_nothing_is_decorated_without_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    """A script that does not import inference-schema is not asked about it, and its errors are its own."""
    run = taking(NumpyParameterType(ARRAY))
    monkeypatch.delitem(sys.modules, "inference_schema.schema_util")
    monkeypatch.delitem(sys.modules, "inference_schema.schema_decorators")
    assert not decorated.is_decorated(run)
    assert decorated.conversion_error(ValueError(), run) is None


def test_types_of_parameters() -> None:
    """Each parameter that has a schema is found with its type, whatever the order and however they are wrapped."""
    one, two = NumpyParameterType(ARRAY), StandardPythonParameterType(1)

    @timed
    @input_schema("one", one)
    @output_schema(StandardPythonParameterType(1))
    @timed
    @input_schema("two", two)
    def run(one: Any, two: Any, three: Any = 3) -> Any:
        return one, two, three

    assert decorated.parameter_types(run) == {"one": one, "two": two}
    assert decorated.parameter_types(len) == {}


def test_functions_that_wrap_each_other() -> None:
    """Every function is found once, from the outermost to the user's own, and circles end."""

    def innermost(data: Any) -> Any:
        return data

    @functools.wraps(innermost)
    def middle(data: Any) -> Any:
        return innermost(data)

    outermost = timed(middle)
    assert list(decorated.functions_of(outermost)) == [outermost, middle, innermost]

    def circle(data: Any) -> Any:
        return circle(data)

    assert list(decorated.functions_of(circle)) == [circle]


class Proxy:
    """Has every attribute, as clients of remote services do, and each is another of its kind."""

    def __getattr__(self, name: str) -> Proxy:
        return Proxy()

    def __call__(self, data: Any) -> Any:
        """Do what is asked for."""
        return data


def test_an_object_that_has_every_attribute() -> None:
    """The search for functions ends where run() closes over such an object."""
    proxy = Proxy()

    def run(data: Any) -> Any:
        return proxy(data)

    assert len(list(itertools.islice(decorated.functions_of(run), 100))) < 100


_PURE = """
import inspect
import sys
import wrapt
from inference_schema.parameter_types.standard_py_parameter_type import StandardPythonParameterType
from inference_schema.schema_decorators import input_schema
from azmlinfsrv import decorated

async def run(a, b):
    return a

for name in "ab":
    run = input_schema(name, StandardPythonParameterType(1))(run)
extension = "wrapt._wrappers" in sys.modules
is_async = any(map(inspect.iscoroutinefunction, decorated.functions_of(run)))
print(extension, sorted(decorated.parameter_types(run)), is_async)
"""


def test_wrappers_without_an_extension() -> None:
    """Every decorator is found where wrapt is plain Python, as on Pythons that its old release has no build for."""
    environment = {**os.environ, "WRAPT_DISABLE_EXTENSIONS": "1"}
    printed = subprocess.run(
        [sys.executable, "-c", _PURE], env=environment, check=True, capture_output=True, text=True
    ).stdout
    assert printed == "False ['a', 'b'] True\n"


def test_a_cell_that_is_empty_yet() -> None:
    """A closure over a name that has no value is passed over."""

    def run(data: Any) -> Any:
        return later(data)

    assert list(decorated.functions_of(run)) == [run]
    if not run.__closure__:
        later = len
    assert run.__closure__


# -- Input that cannot be converted ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        ([["x", 1]], "could not convert string to float: 'x'"),
        ([[1, 2, 3]], "array has size 3 on dimension #1, while expected value is 2"),
        ([1, 2], "an array with 2 dimensions is expected; input has 1"),
        ([[1, 2], [3]], ""),
        ("text", "expected an array of items"),
        (None, "expected an array of items"),
        ({"a": 1}, "expected an array of items"),
    ],
)
def test_arrays(data: Any, reason: str) -> None:
    """An array of a wrong type or shape is told with the parameter, the type, the shape and the reason."""
    message = message_to(taking(NumpyParameterType(ARRAY)), data=data)
    assert message.startswith("The 'data' parameter is not valid. Expected an array of float64 with the shape (*, 2): ")
    assert reason in message


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        ([{"a": 1, "c": 2}], "unknown column 'c'"),
        ([{"a": 1, "b": 2, "c": 3}], "data frame has size 3 on dimension #1, while expected value is 2"),
        ([{"a": 1}], "data frame has size 1 on dimension #1, while expected value is 2"),
        ([{"a": "x", "b": 2}], "could not convert string to float: 'x'"),
        ([{"a": 1, "b": None}], ""),
        (5, "unable to convert input"),
        ("text", "unable to convert input"),
        ([], ""),
    ],
)
def test_frames(data: Any, reason: str) -> None:
    """A frame with an unknown column, too many or too few, or a wrong type is told with the columns and the reason."""
    message = message_to(taking(PandasParameterType(FRAME)), data=data)
    expected = (
        "The 'data' parameter is not valid. Expected a data frame (records) with the columns a: float64, b: int64: "
    )
    assert message.startswith(expected)
    assert reason in message


@pytest.mark.parametrize(
    ("sample", "data", "kind"),
    [
        (1, "x", "int"),
        (1, 1.5, "int"),
        (1.5, "x", "float"),
        ("x", 1, "str"),
        (True, "x", "bool"),
        ([1], 5, "list"),
        ({"a": 1}, [], "dict"),
        (b"x", 5, "bytes"),
        (datetime.datetime(2020, 1, 1), "no date", "datetime"),  # noqa: DTZ001 - a sample as users write it
        (datetime.datetime(2020, 1, 1), 5, "datetime"),  # noqa: DTZ001 - a sample as users write it
    ],
)
def test_standard_types(sample: Any, data: Any, kind: str) -> None:
    """A value of a wrong Python type is told with the type that was expected."""
    message = message_to(taking(StandardPythonParameterType(sample)), data=data)
    assert message.startswith(f"The 'data' parameter is not valid. Expected a value of type {kind}: ")


def test_a_missing_field_of_a_record() -> None:
    """A lookup that fails inside the conversion says what was looked up."""
    sample = np.array([(1, 2.0)], dtype=[("p", "i4"), ("q", "f8")])
    message = message_to(taking(NumpyParameterType(sample)), data=[{"p": 1}])
    assert message.endswith(": KeyError: 'q'")


def nested() -> Callable[..., Any]:
    """Return a function as the designer generates it: parameters within parameters."""
    inputs = StandardPythonParameterType({"frame": PandasParameterType(FRAME), "array": NumpyParameterType(ARRAY)})

    @input_schema("Inputs", inputs)
    @input_schema("GlobalParameters", StandardPythonParameterType({"scale": 1.5}))
    @output_schema(StandardPythonParameterType({"sum": 1.5}))
    def run(Inputs: Any, GlobalParameters: Any) -> Any:  # noqa: N803 - names of generated scripts
        return {"sum": Inputs["array"].sum() * GlobalParameters["scale"]}

    decorated.check_columns(run)
    return run


@pytest.mark.parametrize(
    ("inputs", "reason"),
    [
        ({"array": [["x", 1]]}, "could not convert string to float: 'x'"),
        ({"frame": [{"a": 1, "c": 2}]}, "unknown column 'c'"),
        ([1], "Expected: <class 'dict'> but got <class 'list'>"),
    ],
)
def test_nested_types(inputs: Any, reason: str) -> None:
    """An error within a nested parameter is the caller's, and names the outer parameter and the reason."""
    message = message_to(nested(), Inputs=inputs, GlobalParameters={})
    assert message.startswith("The 'Inputs' parameter is not valid. ")
    assert reason in message


@pytest.mark.parametrize(
    ("inputs", "expected"),
    [
        ({"array": [["x", 1]]}, "an array of float64 with the shape (*, 2)"),
        ({"frame": [{"a": 1, "c": 2}]}, "the columns a: float64, b: int64"),
    ],
)
def test_nested_types_say_what_was_expected(inputs: Any, expected: str) -> None:
    """What was expected is the type of the part that failed: the dictionary around it was right."""
    assert expected in message_to(nested(), Inputs=inputs, GlobalParameters={})


def test_lists_of_types() -> None:
    """A list whose items have a type is converted item by item, and an item's error is the caller's."""
    run = taking(StandardPythonParameterType([NumpyParameterType(ARRAY)]))
    assert [array.tolist() for array in run(data=[[[1, 2]], [[3, 4]]])] == [[[1, 2]], [[3, 4]]]
    assert "'data'" in message_to(run, data=[[[1, 2]], [["x", 1]]])


class Even(AbstractParameterType):  # type: ignore[misc]  # inference-schema has no types
    """A type of the user's own."""

    def deserialize_input(self, input_data: Any) -> Any:
        """Take even numbers."""
        if input_data == "breaks":
            raise ZeroDivisionError
        if int(input_data) % 2:
            message = f"{input_data} is odd"
            raise ValueError(message)
        return frozenset([input_data])

    def input_to_swagger(self) -> dict[str, Any]:
        """Describe it."""
        return {"type": "integer", "example": 2}


@pytest.mark.parametrize(
    ("data", "reason"), [("3", "3 is odd"), ("x", "invalid literal"), ("breaks", ""), ({}, "not 'dict'")]
)
def test_own_types(data: Any, reason: str) -> None:
    """What a type of the user's own raises while it converts is the caller's fault as well."""
    run = taking(Even(frozenset([0])))
    assert run(data="4") == {"4"}
    message = message_to(run, data=data)
    assert message.startswith("The 'data' parameter is not valid. Expected ")
    assert reason in message


@pytest.mark.parametrize("decorator", [timed, lambda function: functools.wraps(function)(timed(function))])
def test_conversion_under_other_decorators(decorator: Callable[..., Any]) -> None:
    """Input that cannot be converted is the caller's fault under a decorator of the user's, too."""
    run = decorator(taking(NumpyParameterType(ARRAY)))
    assert "'data'" in message_to(run, data=[["x", 1]])


def test_conversion_above_other_decorators() -> None:
    """A decorator of the user's between the schema and the function changes nothing."""

    @input_schema("data", NumpyParameterType(ARRAY))
    @timed
    def run(data: Any) -> Any:
        return data

    assert "'data'" in message_to(run, data=[["x", 1]])


# -- Errors of the script's own --------------------------------------------------------------------------------------


# Global, as inference-schema takes what a decorated function closes over for another decorator of it.
ERRORS = [ValueError("x"), TypeError("x"), KeyError("data"), Exception("Error, unable to convert"), LookupError()]
CALLED: dict[str, Callable[..., Any]] = {}


@pytest.mark.parametrize("index", range(len(ERRORS)))
def test_errors_of_the_script(index: int) -> None:
    """An error that the user's function raises is its own, of whatever kind."""

    @input_schema("data", NumpyParameterType(ARRAY))
    def run(data: Any) -> Any:
        raise ERRORS[int(data[0, 0])]

    assert answer_to(run, data=[[index, 0]]) is None


def test_errors_of_what_the_script_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    """A conversion that the user's function makes itself fails on its own account, not the caller's."""
    monkeypatch.setitem(CALLED, "inner", taking(NumpyParameterType(ARRAY)))

    @input_schema("values", StandardPythonParameterType([1]))
    def outer(values: Any) -> Any:
        return CALLED["inner"](data=values)

    assert answer_to(outer, values=["x"]) is None


def test_errors_of_a_decorator() -> None:
    """An error that a decorator of the user's raises is the script's own."""

    def broken(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            function(*args, **kwargs)
            message = "after the call"
            raise ValueError(message)

        return call

    assert answer_to(broken(taking(NumpyParameterType(ARRAY))), data=[[1, 2]]) is None


# -- Columns ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("orient", ["records", "split", "index", "columns", "values"])
def test_right_input_of_every_orient_is_taken(orient: str) -> None:
    """A frame in the form that its type describes is converted, in each of the forms that have one."""
    run = taking(PandasParameterType(FRAME, orient=orient))
    taken = run(data=json.loads(FRAME.to_json(orient=orient)))
    assert taken.to_numpy().tolist() == [[1.5, 2]]


@pytest.mark.parametrize("orient", ["records", "split", "index", "columns"])
def test_unknown_columns_of_every_orient_are_refused(orient: str) -> None:
    """A column that the sample does not have is named, in each of the forms that name columns."""
    other = FRAME.rename(columns={"b": "zzz"})
    message = message_to(
        taking(PandasParameterType(FRAME, orient=orient)), data=json.loads(other.to_json(orient=orient))
    )
    assert "unknown column 'zzz'" in message


def test_the_order_of_columns_is_free() -> None:
    """Columns may come in any order, and every row count is taken."""
    run = taking(PandasParameterType(FRAME))
    taken = run(data=[{"b": 2, "a": 1}, {"b": 4, "a": 3}])
    assert taken["a"].tolist() == [1.0, 3.0]


def test_columns_that_are_numbers() -> None:
    """A sample without names of its own has numbers for columns, which JSON has as text."""
    run = taking(PandasParameterType(pd.DataFrame([[1, 2]])))
    assert run(data=[{"0": 1, "1": 2}]).to_numpy().tolist() == [[1, 2]]
    assert "unknown column" in message_to(run, data=[{"0": 1, "7": 2}])


def test_columns_are_free_where_the_shape_is() -> None:
    """A script that does not enforce the shape takes other columns, as it always has."""
    run = taking(PandasParameterType(FRAME, enforce_shape=False))
    assert list(run(data=[{"a": 1, "new": 2}]).columns) == ["a", "new"]


class _OtherFrame:
    """A frame of another library than pandas."""

    def __init__(self, dtypes: list[Any]) -> None:
        self.columns = ["n", "text"]
        self.dtypes = dtypes


class _AnyFrame(AbstractParameterType):  # type: ignore[misc]
    """A parameter type that knows no orient, as Spark's."""

    def deserialize_input(self, input_data: Any) -> Any:
        """Refuse."""
        raise ValueError("no frame")

    def input_to_swagger(self) -> dict[str, Any]:
        """Describe it."""
        return {"type": "array", "items": {}, "example": []}


@pytest.mark.parametrize(
    ("dtypes", "columns"),
    [([("n", "bigint"), ("text", "string")], "n: bigint, text: string"), ([int, str], "n, text")],
    ids=["as Spark has them", "without names"],
)
def test_frames_of_other_libraries(dtypes: list[Any], columns: str) -> None:
    """A frame that is not pandas' is told by its columns too."""
    message = message_to(taking(_AnyFrame(_OtherFrame(dtypes))), data=5)
    expected = f"Expected a data frame (records) with the columns {columns}: no frame"
    assert message == f"The 'data' parameter is not valid. {expected}"


def test_columns_that_are_renamed_are_free() -> None:
    """A script that applies the sample's names takes whatever names come."""
    with pytest.warns(DeprecationWarning, match="apply_column_names"):
        parameter_type = PandasParameterType(FRAME, apply_column_names=True)
    assert list(taking(parameter_type)(data=[{"x": 1, "y": 2}]).columns) == ["a", "b"]


def test_frames_that_are_frames_already() -> None:
    """Without conversion a parameter is passed on as it is."""
    run = taking(PandasParameterType(FRAME), convert_to_provided_type=False)
    assert run(data=[{"x": 1}]) == [{"x": 1}]


def test_optional_parameters() -> None:
    """A parameter that may be missing is converted where it is there."""
    run = taking(NumpyParameterType(ARRAY), optional=True)
    assert run(data=None) is None
    assert "'data'" in message_to(run, data=[["x", 1]])


class _Backwards(NumpyParameterType):  # type: ignore[misc]
    """A parameter type of the user's own that cannot read what it writes."""

    def deserialize_input(self, input_data: Any) -> Any:
        """Refuse."""
        raise ValueError("cannot read it")


def test_samples_that_do_not_convert_are_warned_of() -> None:
    """A sample that its own schema refuses is named at the start, one warning a parameter."""
    broken = input_schema("first", _Backwards(ARRAY))(input_schema("second", NumpyParameterType(ARRAY))(_two))
    with logged("azmlinfsrv.swagger", logging.WARNING) as lines:
        decorated.check_samples(broken)
    assert lines == ["The sample of the 'first' parameter cannot be converted by its own schema: cannot read it"]


class _Forgetful(NumpyParameterType):  # type: ignore[misc]
    """A parameter type that uses what a class does not have, as inference-schema does to read dates."""

    def deserialize_input(self, input_data: Any) -> Any:
        """Fail."""
        return datetime.date.no_such_parser(input_data)  # type: ignore[attr-defined]


class _Bare(AbstractParameterType):  # type: ignore[misc]
    """A parameter type of the user's own that lacks what a type of a dict has."""

    def deserialize_input(self, input_data: Any) -> Any:
        """Leave it as it is."""
        return input_data

    def input_to_swagger(self) -> dict[str, Any]:
        """Describe it."""
        return {"type": "object", "example": self.sample_input}


def test_samples_are_warned_of_whatever_fails() -> None:
    """An attribute that is missing while the sample is read is warned of; one of the user's own type is not."""
    with logged("azmlinfsrv.swagger", logging.WARNING) as lines:
        decorated.check_samples(taking(_Forgetful(ARRAY)))
        decorated.check_samples(taking(_Bare({"a": 1})))
    assert [line for line in lines if "no_such_parser" in line] == lines and len(lines) == 1


def test_samples_are_checked_without_warnings() -> None:
    """What NumPy warns of while the sample is converted is not said at the start."""
    with logged("azmlinfsrv.swagger", logging.WARNING) as lines:
        decorated.check_samples(taking(NumpyParameterType(np.array(["2024-02-29T12:30"], "datetime64[s]"))))
    assert [line.partition(": ")[2] for line in lines] == [
        'Error parsing datetime string "2024-02-29 12:30:00,000000" at position 19'
    ]


@pytest.mark.parametrize("parameter_type", [NumpyParameterType(ARRAY), PandasParameterType(FRAME)])
def test_good_samples_are_silent(parameter_type: AbstractParameterType) -> None:
    """Nothing is said of samples that convert, nor of scripts without a schema."""
    with logged("azmlinfsrv.swagger", logging.WARNING) as lines:
        decorated.check_samples(taking(parameter_type))
        decorated.check_samples(_two)
    assert lines == []


def _two(first: Any, second: Any) -> Any:
    return first, second
