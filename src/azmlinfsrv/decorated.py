"""Scripts decorated with inference-schema: whether, with what types, and which errors are the caller's fault."""

from __future__ import annotations

import copy
import inspect
import logging
import sys
import warnings
from collections.abc import Callable, Iterator
from types import FunctionType, TracebackType
from typing import Any, NamedTuple

from azmlinfsrv.conversions import quicken
from azmlinfsrv.errors import BadInputError

logger = logging.getLogger("azmlinfsrv.swagger")

_DECORATORS = "inference_schema.schema_decorators"
_WRAPPED = ("__wrapped__", "_self_wrapper", "__func__", "func")


def is_decorated(run: Callable[..., Any]) -> bool:
    """Return whether ``run()`` has an ``@input_schema`` or ``@output_schema``."""
    util = sys.modules.get("inference_schema.schema_util")
    return util is not None and bool(util.is_schema_decorated(run))


def functions_of(run: Callable[..., Any]) -> Iterator[Callable[..., Any]]:
    """Yield ``run()`` and every function that it wraps, from the outermost to the user's own."""
    seen: set[int] = set()
    pending: list[Any] = [run]
    while pending:
        function = pending.pop(0)
        if id(function) in seen or not (callable(function)):
            continue
        seen.add(id(function))
        yield function
        if function is not run and _has_every_attribute(function):
            continue
        pending += [getattr(function, attribute, None) for attribute in _WRAPPED]
        pending += map(_content, getattr(function, "__closure__", None) or ())
        if not isinstance(function, (FunctionType, type)):  # a decorator that is a class keeps it in an attribute
            pending += getattr(function, "__dict__", {}).values()


def _has_every_attribute(value: Any) -> bool:
    """Return whether an object makes up its attributes, as a client of a service does, or a mock.

    The wrappers that inference-schema makes only look so where wrapt has no extension for this Python.
    """
    wrapt = sys.modules.get("wrapt")
    if wrapt is not None and issubclass(type(value), wrapt.ObjectProxy):
        return False
    return isinstance(inspect.getattr_static(value, "__getattr__", None), FunctionType)


class _Declared(NamedTuple):
    """What ``@input_schema`` says of one parameter."""

    type: Any
    is_converted: bool
    is_optional: bool


def _declared(run: Callable[..., Any]) -> dict[str, _Declared]:
    found = {}
    for function in functions_of(run):
        code = getattr(function, "__code__", None)
        if code is None or getattr(function, "__module__", "") != _DECORATORS:
            continue
        cells = _cells(function)
        if "param_name" in cells and "param_type" in cells:
            converted, optional = cells.get("convert_to_provided_type", True), cells.get("optional", False)
            found[cells["param_name"]] = _Declared(cells["param_type"], bool(converted), bool(optional))
    return found


def _cells(function: Any) -> dict[str, Any]:
    """Return what a function has of the function around it, by name."""
    names = getattr(getattr(function, "__code__", None), "co_freevars", ())
    return dict(zip(names, map(_content, getattr(function, "__closure__", None) or ()), strict=True))


def converted_parameters(run: Callable[..., Any]) -> dict[str, Any]:
    """Return the types of the parameters that nothing but inference-schema sees before they are converted.

    Such a parameter may be converted before the call: its type lets a value of its own kind through. Left out are
    parameters that are optional, are not to be converted, are decorated twice, or reach a decorator of the user's own
    as JSON.
    """
    found: dict[str, Any] = {}
    twice = set()
    function: Any = run
    while getattr(wrapper := getattr(function, "_self_wrapper", None), "__module__", "") == _DECORATORS:
        cells = _cells(wrapper)
        name = cells.get("param_name")
        if name is not None and cells.get("convert_to_provided_type") is True and cells.get("optional") is False:
            if name in found:
                twice.add(name)
            found[name] = cells["param_type"]
        function = function.__wrapped__
    return {name: part for name, part in found.items() if name not in twice}


def quicken_conversions(run: Callable[..., Any]) -> None:
    """Have NumPy and pandas parameters convert plain input directly."""
    quicken(part for parameter_type in parameter_types(run).values() for part in _nested(parameter_type))


def is_numpy(part: Any) -> bool:
    """Return whether a type is inference-schema's own for arrays."""
    return _is_own(part, "numpy_parameter_type", "NumpyParameterType")


def is_pandas(part: Any) -> bool:
    """Return whether a type is inference-schema's own for data frames of pandas."""
    return _is_own(part, "pandas_parameter_type", "PandasParameterType")


def _is_own(part: Any, module: str, name: str) -> bool:
    return type(part) is getattr(sys.modules.get(f"inference_schema.parameter_types.{module}"), name, None)


def parameter_types(run: Callable[..., Any]) -> dict[str, Any]:
    """Return the inference-schema type of each parameter that has one."""
    return {name: declared.type for name, declared in _declared(run).items()}


class ParameterConverter:
    """Converts the arguments of ``run()`` as inference-schema does within its call.

    inference-schema leaves what is converted as it is when it sees it again. Optional arguments are left to it: it
    asks for their truth, which arrays do not have.

    Args:
        run: the decorated function.
    """

    def __init__(self, run: Callable[..., Any]) -> None:
        declared = {name: each for name, each in _declared(run).items() if each.is_converted}
        self._types = {name: each.type for name, each in declared.items() if not each.is_optional}
        self._optional = [name for name, each in declared.items() if each.is_optional]
        self._convert = sys.modules[_DECORATORS]._deserialize_input_argument

    def __call__(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """Return the arguments, converted; raises what inference-schema does."""
        types = self._types
        return {
            name: self._convert(value, types[name], name) if name in types else value
            for name, value in arguments.items()
        }

    def is_complete(self, arguments: dict[str, Any]) -> bool:
        """Return whether these arguments have nothing that is left to inference-schema."""
        return not any(arguments[name] for name in self._optional)


def check_columns(run: Callable[..., Any]) -> None:
    """Make data frame parameters refuse columns that their sample does not have.

    inference-schema accepts any names where their number is right; the model then fails on them (`contract.md`,
    "input that the schema cannot convert").
    """
    for parameter_type in parameter_types(run).values():
        for part in _nested(parameter_type):
            columns = getattr(getattr(part, "sample_input", None), "columns", None)
            has_names = getattr(part, "orient", "values") != "values" and not part.apply_column_names
            if columns is not None and has_names and part.enforce_shape:
                part.deserialize_input = _with_known_columns(part.deserialize_input, [str(c) for c in columns])


def check_samples(run: Callable[..., Any]) -> None:
    """Convert the sample of each parameter once, and warn of one that its own schema cannot convert."""
    util, decorators = sys.modules.get("inference_schema.schema_util"), sys.modules.get(_DECORATORS)
    if util is None or decorators is None or not is_decorated(run):
        return
    samples = util.get_input_schema(run).get("example", {})
    for name, parameter_type in parameter_types(run).items():
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # they are about requests, of which there is none yet
                decorators._deserialize_input_argument(copy.deepcopy(samples.get(name)), parameter_type, name)
        except Exception as error:  # noqa: BLE001 - parameter types may be the user's own code
            if isinstance(error, AttributeError) and hasattr(error.obj, "deserialize_input"):
                continue  # a type of the user's own that lacks what inference-schema's have: it may never be asked
            logger.warning("The sample of the %r parameter cannot be converted by its own schema: %s", name, error)


def _nested(parameter_type: Any) -> Iterator[Any]:
    yield parameter_type
    parts = [*getattr(parameter_type, "sample_data_type_map", {}).values()]
    for part in [*parts, *getattr(parameter_type, "sample_data_type_list", [])]:
        yield from _nested(part)


def _with_known_columns(deserialize: Callable[[Any], Any], known: list[str]) -> Callable[[Any], Any]:
    def deserialize_known(input_data: Any) -> Any:
        frame = deserialize(input_data)
        unknown = [str(column) for column in frame.columns if str(column) not in known]
        if unknown:
            message = f"unknown column {', '.join(map(repr, unknown))}"
            raise ValueError(message)
        return frame

    return deserialize_known


def conversion_error(error: BaseException, run: Callable[..., Any]) -> BadInputError | None:
    """Return the error for the caller if `error` came from converting its input, and None if from the script.

    inference-schema converts inside the call of ``run()``: the traceback tells whether the user's own function had
    been reached.
    """
    decorators = sys.modules.get(_DECORATORS)
    if decorators is None:
        return None
    convert = decorators._deserialize_input_argument.__code__
    own = getattr(sys.modules["inference_schema.schema_util"]._get_decorators(run)[-1], "__code__", None)
    name, parameter_type = "", None
    traceback: TracebackType | None = error.__traceback__
    while traceback is not None and traceback.tb_frame.f_code is not own:
        frame = traceback.tb_frame
        if frame.f_code is convert:  # the first is the parameter's, the last the nested type's that refused
            name, parameter_type = name or frame.f_locals["param_name"], frame.f_locals["param_type"]
        traceback = traceback.tb_next
    if not name or traceback is not None:
        return None
    reason = f"{type(error).__name__}: {error}" if isinstance(error, LookupError) else str(error)
    return not_valid(name, parameter_type, reason)


def not_valid(name: str, parameter_type: Any, reason: str) -> BadInputError:
    """Return the error for the caller whose input is not what the type of a parameter describes."""
    return BadInputError(f"The {name!r} parameter is not valid. Expected {_describe(parameter_type)}: {reason}")


def _describe(parameter_type: Any) -> str:
    """Return what a parameter must be, in words."""
    sample: Any = getattr(parameter_type, "sample_input", None)
    if hasattr(sample, "columns") and hasattr(sample, "dtypes"):
        orient = getattr(parameter_type, "orient", "records")
        return f"a data frame ({orient}) with the columns {_columns_in_words(sample)}"
    if hasattr(sample, "dtype"):
        shape = ", ".join(["*", *map(str, sample.shape[1:])]) if sample.shape else ""
        return f"an array of {sample.dtype} with the shape ({shape})"
    kind = getattr(parameter_type, "sample_data_type", None)
    return f"a value of type {getattr(kind, '__name__', 'of the sample')}"


def _columns_in_words(frame: Any) -> str:
    """Return the columns of a data frame, with their types where it is pandas' or Spark's."""
    types = list(frame.dtypes.items() if hasattr(frame.dtypes, "items") else frame.dtypes)
    if all(isinstance(pair, tuple) and len(pair) == 2 for pair in types):
        return ", ".join(f"{column}: {kind}" for column, kind in types)
    return ", ".join(map(str, frame.columns))


def _content(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:
        return None
