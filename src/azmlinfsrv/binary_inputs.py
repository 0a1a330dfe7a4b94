"""Bodies that are one array or one data frame, for decorated and typed scripts.

A body of a binary type is the parameter of ``run()`` that takes an array or a frame; where others have no default, or
several could be meant, only JSON tells them apart.
"""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from azmlinfsrv import binary, decorated
from azmlinfsrv.arrays import Array, Frame
from azmlinfsrv.conversions import fits_shape, has_plain_dtype
from azmlinfsrv.errors import BadInputError, UnsupportedInputError
from azmlinfsrv.messages import Body, Request

if TYPE_CHECKING:
    from azmlinfsrv.typed import TypedRun

Finish = Callable[[Any], dict[str, Any]]


class BinaryInput:
    """Reads the arguments of ``run()`` from a body of a binary type.

    Args:
        what: what the parameter takes.
        finish: checks the array or frame and makes the arguments of ``run()``.

    Attributes:
        media_types: the types that are taken.
    """

    def __init__(self, what: Array | Frame, finish: Finish) -> None:
        self._what = what
        self._finish = finish
        if isinstance(what, Frame):
            self.media_types: tuple[str, ...] = (binary.ARROW,)
        else:
            self.media_types = (binary.NPY,) if _sizes(what) is None else (binary.NPY, binary.RAW)

    def arguments(self, request: Request) -> dict[str, Any] | None:
        """Return the arguments, and None for a body of no binary type.

        Raises:
            UnsupportedInputError: the type is not one that this script takes, or pyarrow is missing.
            BadInputError: the body is not what its type says, or does not fit the parameter.
        """
        media_type = request.header(b"content-type").partition(";")[0].strip().lower()
        if media_type not in binary.MEDIA_TYPES:
            return None
        if media_type not in self.media_types:
            raise UnsupportedInputError(
                f"Expects Content-Type to be application/json or {' or '.join(self.media_types)}"
            )
        if media_type == binary.ARROW and not binary.has_arrow():
            raise UnsupportedInputError(
                f"{media_type} needs pyarrow on the server. Run: pip install 'azmlinfsrv[arrow]'"
            )
        if not request.body:
            raise BadInputError(f"POST body is empty. Expecting {media_type}.")
        try:
            value = self._read(media_type, request.body)
        except (ValueError, OverflowError, EOFError) as error:
            raise BadInputError(f"POST body could not be decoded as {media_type}: {error}") from None
        return self._finish(value)

    def _read(self, media_type: str, body: Body) -> Any:
        if media_type == binary.ARROW:
            return binary.read_arrow(body)
        if media_type == binary.NPY or isinstance(self._what, Frame):
            return binary.read_npy(body)
        import numpy as np

        return binary.read_raw(body, np.dtype(self._what.dtype), _sizes(self._what) or ())


def _sizes(array: Array) -> list[int | None] | None:
    """Return the size of each dimension, None for the one that may vary; None where more than one may."""
    import numpy as np

    if array.dimensions is None or np.dtype(array.dtype).kind not in "biuf":
        return None
    sizes = [int(name) if name.isdigit() else None for name in array.dimensions]
    return sizes if sizes.count(None) <= 1 and 0 not in sizes else None


def decorated_input(run: Any, parameters: Sequence[inspect.Parameter]) -> BinaryInput | None:
    """Return what reads binary bodies for a script with ``@input_schema``, and None where only JSON will do."""
    types = {name: part for name, part in decorated.converted_parameters(run).items() if _takes_bytes(part)}
    parameter = _meant(parameters, types)
    if parameter is None:
        return None
    part = types[parameter.name]
    what = _array_of(part) if decorated.is_numpy(part) else Frame()
    fit = fit_array if decorated.is_numpy(part) else fit_frame
    defaults = {other.name: other.default for other in parameters if other is not parameter}

    def finish(value: Any) -> dict[str, Any]:
        try:
            return {parameter.name: fit(value, part), **defaults}
        except (ValueError, TypeError, OverflowError) as error:
            raise decorated.not_valid(parameter.name, part, str(error)) from None

    return BinaryInput(what, finish)


def input_types(typed: TypedRun) -> tuple[str, ...]:
    """Return the binary types of bodies that a typed script takes."""
    found = typed_input(typed)
    return () if found is None else found.media_types


def output_types(typed: TypedRun) -> tuple[str, ...]:
    """Return the binary types that a typed script's answer may have, as its return annotation says."""
    what = annotated(typed.hints.get("return"))
    return () if what is None else (binary.ARROW,) if isinstance(what, Frame) else (binary.NPY, binary.RAW)


def typed_input(typed: TypedRun) -> BinaryInput | None:
    """Return what reads binary bodies for a typed script, and None where only JSON will do."""
    parameters = typed.parameters
    whats = {parameter.name: annotated(typed.hints.get(parameter.name)) for parameter in parameters}
    known = {name: what for name, what in whats.items() if what is not None}
    parameter = _meant(parameters, known)
    if parameter is None:
        return None
    name = parameter.name
    return BinaryInput(known[name], lambda value: typed.from_values({name: value}))


def annotated(hint: Any) -> Array | Frame | None:
    """Return the `Array` or `Frame` of an annotation that has nothing else to say."""
    metadata: tuple[Any, ...] = getattr(hint, "__metadata__", ())
    if len(metadata) != 1 or not isinstance(metadata[0], (Array, Frame)):
        return None
    return metadata[0]


def _meant(parameters: Sequence[inspect.Parameter], known: typing.Collection[str]) -> inspect.Parameter | None:
    """Return the parameter that a body can only mean: the required one, or the only one that takes such a body."""
    required = [each for each in parameters if each.default is inspect.Parameter.empty]
    found = required or [each for each in parameters if each.name in known]
    return found[0] if len(found) == 1 and found[0].name in known else None


def _takes_bytes(part: Any) -> bool:
    if decorated.is_numpy(part):
        return has_plain_dtype(part)
    return decorated.is_pandas(part) and not part.apply_column_names


def _array_of(part: Any) -> Array:
    """Return what an array of inference-schema is, in the words of typed scripts."""
    sample = part.sample_input
    shape = " ".join(["n", *map(str, sample.shape[1:])][: sample.ndim]) if part.enforce_shape else None
    return Array(sample.dtype.name, shape)


def fit_array(array: Any, part: Any) -> Any:
    """Return an array as the type of its parameter has it.

    Raises:
        ValueError: its numbers cannot be converted without loss, or its shape is another.
    """
    converted = Array(part.sample_input.dtype.name).parse(array)
    if not fits_shape(part, converted.shape):
        raise ValueError(f"got the shape {converted.shape}")
    return converted


def fit_frame(frame: Any, part: Any) -> Any:
    """Return a frame as the type of its parameter has it, checked as one that was sent as JSON.

    Raises:
        ValueError, TypeError: its columns are others, or of types that cannot be converted.
    """
    sample = part.sample_input
    known = [str(name) for name in sample.columns]
    if part.enforce_shape:
        unknown = [repr(name) for name in frame.columns if name not in known]
        if unknown:
            raise ValueError(f"unknown column {', '.join(unknown)}")
        if len(frame.columns) != len(known):
            raise ValueError(f"found {len(frame.columns)} columns, expected {len(known)}")
    if list(frame.columns) == known:
        frame.columns = sample.columns
    if not part.enforce_column_type:
        return frame
    dtypes = sample.dtypes.to_dict()
    return frame.astype({name: dtypes.get(name, object) for name in frame.columns})
