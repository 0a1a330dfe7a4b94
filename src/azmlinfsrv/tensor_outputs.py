"""What ``run()`` returns, as tensors of the Open Inference Protocol."""

from __future__ import annotations

import inspect
import io
import json
import logging
import sys
from collections.abc import Mapping
from typing import Any

from azmlinfsrv import codec, tensors
from azmlinfsrv.arrays import Array
from azmlinfsrv.binary_inputs import annotated
from azmlinfsrv.decorated import functions_of
from azmlinfsrv.examples import example_of
from azmlinfsrv.outputs import is_http_response
from azmlinfsrv.script import Script, Style
from azmlinfsrv.tensor_inputs import TensorSpec, array_spec, frame_specs

logger = logging.getLogger("azmlinfsrv.swagger")

# A result that has no name: the first of KServe's and MLServer's has this one.
_NAME = "output-{}"
_FIRST = _NAME.format(0)
Tensors = list[tuple[str, Any]]
_PLAIN = (str, bytes, bool, int, float, type(None))
_KNOWN = (*_PLAIN, list, tuple, Mapping)


def result_tensors(result: Any) -> Tensors:
    """Return the names and arrays of a result; an array's dtype is one of numbers, or object for BYTES.

    A data frame, an object and a list of objects with the same keys are a tensor a column or key, a tuple is one an
    item. All else is one tensor; what has no elements of a datatype is BYTES with JSON texts.

    Raises:
        TypeError, ValueError, RecursionError: JSON cannot hold the result.
    """
    if result is None:
        return []
    result = _objects_as_json(result.get_data() if is_http_response(result) else result)
    pandas = sys.modules.get("pandas")
    if pandas is not None and isinstance(result, pandas.DataFrame):
        return [(str(name), _column(result[name])) for name in _unique(result)]
    if pandas is not None and isinstance(result, pandas.Series):
        return [(_FIRST if result.name is None else str(result.name), _column(result))]
    if isinstance(result, Mapping):
        return [(str(name), _array(value)) for name, value in result.items()]
    if isinstance(result, tuple):
        names = getattr(result, "_fields", None) or [_NAME.format(number) for number in range(len(result))]
        return [(name, _array(value)) for name, value in zip(names, result, strict=True)]
    if _is_records(result):
        return [(str(name), _array([record[name] for record in result])) for name in result[0]]
    return [(_FIRST, _array(result))]


def _objects_as_json(result: Any) -> Any:
    """Return dataclasses and models, alone or in a list, as JSON has them."""
    if type(result) is list:
        return list(map(_as_json, result)) if result and not isinstance(result[0], _KNOWN) else result
    return _as_json(result)


def _as_json(value: Any) -> Any:
    if isinstance(value, _KNOWN) or hasattr(value, "dtype") or hasattr(value, "dtypes"):
        return value
    found = codec.default(value)
    return found if isinstance(found, dict) else value


def _unique(frame: Any) -> list[Any]:
    if not frame.columns.is_unique:
        raise ValueError("two columns of the result have the same name")
    return list(frame.columns)


def _is_records(result: Any) -> bool:
    """Return whether a result is a list of plain objects with the same keys."""
    if type(result) is not list or not result or type(result[0]) is not dict or not result[0]:
        return False
    keys = result[0].keys()
    return all(
        type(record) is dict and record.keys() == keys and all(isinstance(value, _PLAIN) for value in record.values())
        for record in result
    )


def _array(value: Any) -> Any:
    """Return the array of a value; one that is no list, and no array, has one element."""
    import numpy as np

    if isinstance(value, np.ndarray):
        return _of_datatype(value) if value.ndim or value.dtype.kind != "O" else _objects(value.reshape(1))
    pandas = sys.modules.get("pandas")
    if pandas is not None and isinstance(value, (pandas.Series, pandas.Index)):
        return _column(value)
    if isinstance(value, (list, tuple)):
        return _of_list(list(value))
    if isinstance(value, (bool, int, float, np.generic)):
        return _of_datatype(np.array([value]))
    one = np.empty(1, dtype=object)
    one[0] = value
    return _objects(one)


def _column(values: Any) -> Any:
    """Return the array of a column of pandas; numbers that are missing are NaN."""
    import numpy as np

    plain = getattr(values.dtype, "numpy_dtype", values.dtype)
    if not isinstance(plain, np.dtype) or plain.kind in "OMm":
        if isinstance(plain, np.dtype) and plain.kind in "Mm":
            return _of_datatype(values.to_numpy())
        found = values.to_numpy(dtype=object)
        return _of_list([None if each is None or each != each else each for each in found])  # noqa: PLR0124 - NaN
    if plain is values.dtype or not values.hasnans:
        return _of_datatype(values.to_numpy(plain))
    return values.to_numpy("float64", na_value=np.nan)


def _of_list(value: list[Any]) -> Any:
    import numpy as np

    objects = np.array(value, dtype=object)
    kinds = set(map(type, objects.flat))
    if kinds <= {int, float, type(None)} and float in kinds and type(None) in kinds:
        return tensors.with_nan(objects).astype("float64")
    if kinds and (kinds <= {int, float} or kinds == {bool} or all(issubclass(kind, np.generic) for kind in kinds)):
        return _of_datatype(np.array(value))
    return _objects(objects)


def _of_datatype(array: Any) -> Any:
    """Return an array of a datatype of the protocol: itself where it is one of its numbers."""
    kind = array.dtype.kind
    if kind == "f" and array.dtype.itemsize > 8:
        return array.astype("float64")
    if tensors.datatype_of(array.dtype) != tensors.BYTES:
        return array
    if kind in "Mm":
        return _of_list(codec.default(array))
    return _objects(array.astype(object))


def _objects(array: Any) -> Any:
    """Return an array with texts and bytes; any other element is its JSON text."""
    import numpy as np

    found = np.empty(array.size, dtype=object)
    found[:] = [each if isinstance(each, (str, bytes)) else codec.dumps(each).decode() for each in array.flat]
    return found.reshape(array.shape)


def described_outputs(script: Script) -> list[TensorSpec]:
    """Return the tensors of what a script says that it returns; none where it says nothing."""
    try:
        specs = _typed_outputs(script) if script.typed is not None else None
        if specs is not None:
            return specs
        found, sample = _sample(script)
        return [_described(name, array) for name, array in result_tensors(sample)] if found else []
    except Exception as error:  # noqa: BLE001 - samples and examples are the user's
        logger.info("The outputs of run() are not described as tensors: %s", error)
        return []


def _typed_outputs(script: Script) -> list[TensorSpec] | None:
    assert script.typed is not None  # noqa: S101 - asked for only where it is
    what = annotated(script.typed.hints.get("return"))
    if what is None:
        return None
    return [array_spec(_FIRST, what)] if isinstance(what, Array) else frame_specs(what)


def _sample(script: Script) -> tuple[bool, Any]:
    """Return whether there is an example of a result, and the example."""
    if script.typed is not None:
        schema = script.typed.output_schema
        return bool(schema), example_of(schema, script.typed.definitions) if schema else None
    util = sys.modules.get("inference_schema.schema_util")
    if util is None or script.style is not Style.SCHEMA:
        return False, None
    schema = util.get_output_schema(script.run)
    if "example" not in schema or "type" not in schema:
        return False, None
    return True, _revived(schema)


def _revived(schema: Mapping[str, Any]) -> Any:
    """Return the sample of an output schema: an array or a frame where it was one."""
    kind, example = str(schema.get("format", "")), schema["example"]
    if kind.startswith("pandas.DataFrame:"):
        import pandas as pd

        return pd.read_json(io.StringIO(json.dumps(example)), orient=kind.partition(":")[2])
    if kind == "numpy.ndarray":
        items: Any = schema
        while "items" in items:
            items = items["items"]
        dtype = {"float": "float32", "double": "float64"}.get(items.get("format"), items.get("format"))
        if tensors.datatype_of(dtype) != tensors.BYTES:
            import numpy as np

            return np.array(example, dtype=dtype)
    return example


def _described(name: str, array: Any) -> TensorSpec:
    """Return what a tensor is like of which this is one: any number of rows."""
    return TensorSpec(name, tensors.datatype_of(array.dtype), (-1, *array.shape[1:])[: array.ndim])


def is_streamed(script: Script) -> bool:
    """Return whether a script answers with a stream."""
    return any(
        inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function)
        for function in functions_of(script.run)
    )
