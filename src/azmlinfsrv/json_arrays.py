"""Arrays of numbers straight from JSON into NumPy, without a Python object a number, by simdjson.

An extra (``azmlinfsrv[fast]``). What simdjson reads differently from the standard library, and every input that is not
plainly rectangular numbers, is left to the usual way.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping
from typing import Any

from azmlinfsrv import decorated
from azmlinfsrv.conversions import fits_shape, has_plain_dtype
from azmlinfsrv.messages import Body

# Shorter texts are quicker through Python's lists.
_MIN_BYTES = 4096
# A parser keeps the memory of its largest text, so one that has read a larger text than this is not kept.
_KEPT_BYTES = 16 * 1024 * 1024
# Bytes are counted in pieces, so that a large text does not need its size once more.
_PIECE_BYTES = 256 * 1024
_OTHER_WAY = (ValueError, TypeError, RuntimeError, LookupError)


class ArrayReader:
    """Reads the arguments of a ``run()`` whose parameters are arrays and plain values.

    Args:
        parsers: simdjson.
        parameters: of ``run()``.
        types: inference-schema's type of each parameter that is an array of plain numbers.
    """

    def __init__(self, parsers: Any, parameters: list[inspect.Parameter], types: Mapping[str, Any]) -> None:
        self._simdjson = parsers
        self._parameters = parameters
        self._types = types
        self._idle: list[Any] = []  # parsers; list.pop and append are atomic

    def read(self, body: Body) -> dict[str, Any] | None:
        """Return the arguments in a JSON object, and None where they have to be read the usual way."""
        if len(body) < _MIN_BYTES:
            return None
        parser = self._idle.pop() if self._idle else self._simdjson.Parser()
        try:
            arguments = self._arguments(parser, body)
        except _OTHER_WAY:
            return None  # the error may hold parts of the text, and these the parser
        if len(body) <= _KEPT_BYTES and len(self._idle) < 2:
            self._idle.append(parser)
        return arguments

    def _arguments(self, parser: Any, body: Body) -> dict[str, Any] | None:
        """Return the arguments; whatever refers to the parser ends with this call."""
        root = parser.parse(body)
        names = list(root)
        if len(set(names)) != len(names):
            return None  # the last one counts, simdjson has the first
        arguments: dict[str, Any] = {}
        brackets = 0
        for parameter in self._parameters:
            name = parameter.name
            if name not in names:
                if parameter.default is inspect.Parameter.empty:
                    return None
                arguments[name] = parameter.default
            elif name in self._types:
                shape = self._shape(root[name])
                arguments[name] = _array(root[name], shape, self._types[name])
                brackets += sum(math.prod(shape[:depth]) for depth in range(len(shape)))
            else:
                arguments[name] = value = root[name]
                if isinstance(value, (self._simdjson.Array, self._simdjson.Object)):
                    return None
        # simdjson flattens whatever depth a part of an array has: there must be no more lists than the shape has.
        return arguments if _count(body, b"[") == brackets else None

    def _shape(self, array: Any) -> tuple[int, ...]:
        """Return the shape of nested lists that are rectangular.

        Raises:
            ValueError: they are not, or are empty.
        """
        kind = self._simdjson.Array
        if not isinstance(array, kind) or not len(array):
            raise ValueError("no array")
        if not isinstance(array[0], kind):
            return (len(array),)
        # One part at a time: a list of them all would set off the garbage collector.
        if isinstance(array[0][0], kind):
            shapes = {self._shape(part) for part in array}
        else:
            # No look at each: a part that is no list is no number, which simdjson refuses to have in an array, and how
            # many lists there are is counted in the end.
            shapes = {(length,) for length in set(map(len, array))}
        if len(shapes) != 1:
            raise ValueError("not rectangular")
        return (len(array), *shapes.pop())


def array_reader(run: Any, parameters: list[inspect.Parameter]) -> ArrayReader | None:
    """Return what reads arrays for a decorated ``run()``, and None where it has none or simdjson is missing."""
    types = {
        name: part
        for name, part in decorated.converted_parameters(run).items()
        if decorated.is_numpy(part) and has_plain_dtype(part) and part.sample_input.dtype.str[1:] in _READERS
    }
    if not types:
        return None
    try:
        import simdjson
    except ImportError:
        return None
    return ArrayReader(simdjson, parameters, types)


def _count(body: Body, byte: bytes) -> int:
    """Return how often a byte is in the text; NumPy is several times quicker at it than ``bytes.count``."""
    import numpy as np

    codes, found = np.frombuffer(body, np.uint8), np.empty(_PIECE_BYTES, np.bool_)
    pieces = (codes[start : start + _PIECE_BYTES] for start in range(0, codes.size, _PIECE_BYTES))
    return sum(int(np.count_nonzero(np.equal(piece, ord(byte), out=found[: piece.size]))) for piece in pieces)


# How simdjson is to read numbers for a dtype. Integers that were written as floats go the usual way.
_READERS = {"f8": "d", "f4": "d", "i8": "i"}


def _array(found: Any, shape: tuple[int, ...], part: Any) -> Any:
    """Return the array.

    Raises:
        ValueError, TypeError: it is not one of this type and shape.
    """
    import numpy as np

    dtype = part.sample_input.dtype
    kind = _READERS[dtype.str[1:]]
    numbers = np.frombuffer(found.as_buffer(of_type=kind), dtype=f"{kind.replace('d', 'f')}8")
    if numbers.size != math.prod(shape) or not fits_shape(part, shape):
        raise ValueError("another shape")
    return numbers.reshape(shape).astype(dtype, copy=not numbers.flags.writeable)
