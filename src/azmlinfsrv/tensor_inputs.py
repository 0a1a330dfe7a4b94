"""The parameters of ``run()`` as tensors of the Open Inference Protocol.

An array is one tensor, named as its parameter; a data frame is a tensor a column, named as the column. Whatever else
``run()`` takes comes from the ``parameters`` of a request, or has its default.
"""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from azmlinfsrv import decorated, tensors
from azmlinfsrv.arrays import Array, Frame
from azmlinfsrv.binary_inputs import annotated, fit_array, fit_frame
from azmlinfsrv.conversions import has_plain_dtype
from azmlinfsrv.errors import BadInputError
from azmlinfsrv.inference_body import Inference, Tensor
from azmlinfsrv.script import Script, Style

if TYPE_CHECKING:
    from azmlinfsrv.typed import TypedRun

Finish = Callable[[dict[str, Any]], dict[str, Any]]


class TensorSpec(NamedTuple):
    """What a tensor is.

    Attributes:
        name: its name.
        datatype: one of `tensors.DATATYPES`.
        shape: its sizes, -1 for one that may vary.
        is_strict: whether no other datatype is taken.
        has_shape: whether no other shape is taken.
    """

    name: str
    datatype: str
    shape: tuple[int, ...]
    is_strict: bool = True
    has_shape: bool = True

    def metadata(self) -> dict[str, Any]:
        """Return how the protocol describes it."""
        return {"name": self.name, "datatype": self.datatype, "shape": list(self.shape)}

    def read(self, tensor: Tensor) -> Any:
        """Return the elements of a tensor that was sent.

        Raises:
            BadInputError: it is another, or damaged.
        """
        if self.is_strict and tensor.datatype != self.datatype:
            raise BadInputError(f"input {self.name!r} has the datatype {tensor.datatype}, expected {self.datatype}")
        if self.has_shape and len(self.shape) == 1 and len(tensor.shape) == 2 and tensor.shape[1] == 1:
            return self.read(tensor.flat())  # MLServer's clients have no shape of one dimension
        if self.has_shape and not self._fits(tensor.shape):
            raise BadInputError(
                f"input {self.name!r} has the shape {list(tensor.shape)}, expected {list(self.shape)}; -1 is any size"
            )
        return tensor.read()

    def _fits(self, shape: Sequence[int]) -> bool:
        return len(shape) == len(self.shape) and all(
            known in (-1, size) for known, size in zip(self.shape, shape, strict=True)
        )


class ArrayInput:
    """An array, in one tensor.

    Args:
        spec: the tensor.
        finish: makes the value that the script gets.
    """

    def __init__(self, spec: TensorSpec, finish: Callable[[Any], Any]) -> None:
        self.specs = [spec]
        self._finish = finish

    def value(self, sent: Mapping[str, Tensor]) -> Any:
        """Return the value in the tensors of a request."""
        spec = self.specs[0]
        return self._finish(spec.read(sent[spec.name]))


class FrameInput:
    """A data frame, in a tensor a column.

    Args:
        specs: the tensors.
        columns: names of the columns, as texts.
        finish: makes the value that the script gets.
    """

    def __init__(self, specs: list[TensorSpec], columns: Sequence[str], finish: Callable[[Any], Any]) -> None:
        self.specs = specs
        self._columns = columns
        self._finish = finish

    def value(self, sent: Mapping[str, Tensor]) -> Any:
        """Return the value in the tensors of a request."""
        values = {}
        for column, spec in zip(self._columns, self.specs, strict=True):
            array = spec.read(sent[spec.name])
            values[column] = list(texts_of(spec, array)) if array.dtype.kind == "O" else array
        return self._finish(frame_of(values))


def frame_of(values: Mapping[Any, Any]) -> Any:
    """Return the data frame of columns.

    Raises:
        BadInputError: they are not of one length.
    """
    import pandas as pd

    sizes = Counter(map(len, values.values()))
    if len(sizes) > 1:
        raise BadInputError(f"the columns must be of the same length, and have {sorted(sizes)} rows")
    return pd.DataFrame(values)


Part = ArrayInput | FrameInput


class ScriptInputs:
    """What a script takes, as tensors.

    Args:
        parameters: those of ``run()`` but for ``request_headers``.
        parts: the arrays and frames by parameter; a parameter that is an object of them has an object here.
        finish: makes the arguments of ``run()`` of the values of its parameters.

    Attributes:
        specs: the tensors.
    """

    def __init__(
        self, parameters: Sequence[inspect.Parameter], parts: Mapping[str, Part | dict[str, Part]], finish: Finish
    ) -> None:
        self._parameters, self._parts, self._finish = parameters, parts, finish
        self.specs = [spec for part in parts.values() for leaf in _leaves(part) for spec in leaf.specs]

    def arguments(self, inference: Inference) -> dict[str, Any]:
        """Return the arguments of ``run()``.

        Raises:
            BadInputError: a tensor is missing, unknown or another than it should be, or a parameter is missing.
        """
        sent = inference.inputs
        check_names(sent, [spec.name for spec in self.specs])
        values: dict[str, Any] = {}
        for parameter in self._parameters:
            name = parameter.name
            part = self._parts.get(name)
            required = parameter.default is inspect.Parameter.empty
            if part is None:
                if name in inference.parameters:
                    values[name] = inference.parameters[name]
                elif required:
                    raise BadInputError(f"a value of {name!r} is missing among the parameters of the request")
                else:
                    values[name] = parameter.default
                continue
            wanted = [spec.name for leaf in _leaves(part) for spec in leaf.specs]
            missing = [each for each in wanted if each not in sent]
            if not missing:
                values[name] = _value(part, sent)
            elif required or len(missing) < len(wanted):
                raise BadInputError(f"input {missing[0]!r} is missing")
            else:
                values[name] = parameter.default
        return self._finish(values)


def check_names(sent: Iterable[str], known: Sequence[str]) -> None:
    """Do nothing where all inputs are known.

    Raises:
        BadInputError: one is not.
    """
    unknown = [name for name in sent if name not in known]
    if unknown:
        raise BadInputError(f"there is no input {unknown[0]!r}, but {', '.join(map(repr, known))}")


def _leaves(part: Part | dict[str, Part]) -> list[Part]:
    return list(part.values()) if isinstance(part, dict) else [part]


def _value(part: Part | dict[str, Part], sent: Mapping[str, Tensor]) -> Any:
    if isinstance(part, dict):
        return {key: leaf.value(sent) for key, leaf in part.items()}
    return part.value(sent)


def script_inputs(script: Script) -> ScriptInputs | None:
    """Return what a script takes, and None where there is no array and no frame."""
    parts: Mapping[str, Part | dict[str, Part]]
    finish: Finish = dict
    if script.style is Style.SCHEMA:
        parts = _decorated_parts(script)
    elif script.typed is not None:
        typed = script.typed
        parts, finish = _typed_parts(typed), typed.from_values
    else:
        return None
    return ScriptInputs(script.parameters, parts, finish) if parts else None


# -- decorated scripts ---------------------------------------------------------------------------------------------


def _decorated_parts(script: Script) -> dict[str, Part | dict[str, Part]]:
    types = decorated.parameter_types(script.run)
    names = [parameter.name for parameter in script.parameters if parameter.name in types]
    found: dict[str, Any] = {}
    for name in names:
        nested = getattr(types[name], "sample_data_type_map", None) or {}
        leaves = {key: part for key, part in nested.items() if _is_leaf(part)}
        if _is_leaf(types[name]):
            found[name] = types[name]
        elif leaves and len(leaves) == len(types[name].sample_input):
            found[name] = leaves
    converted = decorated.converted_parameters(script.run)
    naming = _Naming(
        {(name, key): _columns(part) for name, of in found.items() for key, part in _items(of) if part is not None}
    )
    parts: dict[str, Part | dict[str, Part]] = {}
    for name, of in found.items():
        made = {key: _decorated_part(name, key, part, naming, name in converted) for key, part in _items(of)}
        parts[name] = {key: leaf for key, leaf in made.items() if key is not None} or made[None]
    return parts


def _items(of: Any) -> list[tuple[str | None, Any]]:
    return list(of.items()) if isinstance(of, dict) else [(None, of)]


def _columns(part: Any) -> list[str] | None:
    return None if decorated.is_numpy(part) else [str(column) for column in part.sample_input.columns]


class _Naming:
    """Gives tensors their names: short ones, unless two would have the same.

    Args:
        leaves: parameter and key of each array and frame, with the columns of a frame.
    """

    def __init__(self, leaves: Mapping[tuple[str, str | None], list[str] | None]) -> None:
        short = [name for place, columns in leaves.items() for name in columns or [place[1] or place[0]]]
        self._is_short = len(set(short)) == len(short)

    def name(self, parameter: str, key: str | None, column: str | None = None) -> str:
        """Return the name of a tensor."""
        words = [word for word in (parameter, key, column) if word is not None]
        return words[-1] if self._is_short else ".".join(words)


def _is_leaf(part: Any) -> bool:
    if decorated.is_numpy(part):
        return not part.sample_input.dtype.names and part.sample_input.dtype.kind in "biufUSOMm"
    return decorated.is_pandas(part)


def _decorated_part(name: str, key: str | None, part: Any, naming: _Naming, is_converted: bool) -> Part:
    sample = part.sample_input
    if decorated.is_numpy(part):
        spec = _array_spec(naming.name(name, key), part)
        return ArrayInput(spec, _finish_array(name, spec, part, is_converted))
    any_type = not part.enforce_column_type
    specs = [
        TensorSpec(
            naming.name(name, key, str(column)), tensors.datatype_of(dtype), (-1,), not (any_type or _is_any(dtype))
        )
        for column, dtype in sample.dtypes.items()
    ]
    return FrameInput(specs, list(map(str, sample.columns)), _finish_frame(name, part, is_converted))


def _is_any(dtype: Any) -> bool:
    return str(dtype) == "object"


def _array_spec(name: str, part: Any) -> TensorSpec:
    sample = part.sample_input
    shape = (-1, *sample.shape[1:]) if part.enforce_shape else (-1,) * sample.ndim
    is_strict = part.enforce_column_type and not _is_any(sample.dtype)
    return TensorSpec(name, tensors.datatype_of(sample.dtype), shape[: sample.ndim], is_strict, part.enforce_shape)


def _finish_array(name: str, spec: TensorSpec, part: Any, is_converted: bool) -> Callable[[Any], Any]:
    sample = part.sample_input
    wants_bytes = sample.dtype.kind == "S" or (
        sample.dtype.kind == "O" and sample.size and isinstance(sample.flat[0], bytes)
    )

    # Texts as long as they are: a dtype such as <U3 would cut them off.
    target = sample.dtype.kind if sample.dtype.kind in "US" else sample.dtype

    def finish(array: Any) -> Any:
        if array.dtype.kind == "O":
            array = _bytes(array) if wants_bytes else texts_of(spec, array)
        if not is_converted:
            return array.tolist()
        try:
            if has_plain_dtype(part):
                return fit_array(array, part)
            return array.astype(target) if part.enforce_column_type else array
        except (ValueError, TypeError, OverflowError) as error:
            raise decorated.not_valid(name, part, str(error)) from None

    return finish


def _finish_frame(name: str, part: Any, is_converted: bool) -> Callable[[Any], Any]:
    def finish(frame: Any) -> Any:
        try:
            if is_converted:
                return fit_frame(frame, part)
        except (ValueError, TypeError, OverflowError) as error:
            raise decorated.not_valid(name, part, str(error)) from None
        orient = {"columns": "dict", "table": "records"}.get(part.orient, part.orient)
        return frame.values.tolist() if orient == "values" else frame.to_dict(orient=orient)

    return finish


def _bytes(array: Any) -> Any:
    import numpy as np

    found = np.empty(array.size, dtype=object)
    found[:] = [each.encode("utf-8", "replace") if isinstance(each, str) else each for each in array.flat]
    return found.reshape(array.shape)


def texts_of(spec: TensorSpec, array: Any) -> Any:
    """Return the elements of BYTES as texts, in an array of the same shape.

    Raises:
        BadInputError: one is not UTF-8.
    """
    try:
        return tensors.texts(array)
    except ValueError as error:
        raise BadInputError(f"input {spec.name!r}: {error}") from None


# -- typed scripts -------------------------------------------------------------------------------------------------


def _typed_parts(typed: TypedRun) -> dict[str, Part | dict[str, Part]]:
    whats = {parameter.name: annotated(typed.hints.get(parameter.name)) for parameter in typed.parameters}
    known = {name: what for name, what in whats.items() if what is not None}
    naming = _Naming(
        {(name, None): list(what.columns) if isinstance(what, Frame) else None for name, what in known.items()}
    )
    return {name: _typed_part(name, what, naming) for name, what in known.items()}


def _typed_part(name: str, what: Array | Frame, naming: _Naming) -> Part:
    if isinstance(what, Array):
        spec = array_spec(naming.name(name, None), what)
        return ArrayInput(spec, lambda array: _typed_array(spec, array))
    specs = frame_specs(what, lambda column: naming.name(name, None, column))
    return FrameInput(specs, list(what.columns), lambda frame: frame)


def _typed_array(spec: TensorSpec, array: Any) -> Any:
    return texts_of(spec, array).tolist() if array.dtype.kind == "O" else array


def array_spec(name: str, what: Array) -> TensorSpec:
    """Return the tensor of an array of a typed script."""
    import numpy as np

    dtype, words = np.dtype(what.dtype), what.dimensions
    shape = (-1,) if words is None else tuple(int(word) if word.isdigit() else -1 for word in words)
    return TensorSpec(name, tensors.datatype_of(dtype), shape, not _is_any(dtype), words is not None)


def frame_specs(what: Frame, name: Callable[[str], str] = str) -> list[TensorSpec]:
    """Return the tensors of a data frame of a typed script."""
    import pandas as pd

    dtypes = {column: pd.api.types.pandas_dtype(dtype) for column, dtype in what.columns.items()}
    return [
        TensorSpec(name(column), tensors.datatype_of(dtype), (-1,), not _is_any(dtype))
        for column, dtype in dtypes.items()
    ]
