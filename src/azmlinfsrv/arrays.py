"""Annotations for NumPy arrays and pandas data frames in a typed ``run()``.

``Annotated[np.ndarray, Array("float32", "n 4")]`` is an array of any number of rows with four columns, sent as nested
lists; ``Annotated[pd.DataFrame, Frame(age="float64", name="object")]`` is a frame with these columns, sent as records
or as an object of columns.
"""

from __future__ import annotations

import abc
from typing import Any

_SCHEMA_TYPES = {"b": "boolean", "i": "integer", "u": "integer", "f": "number"}
# From which kinds of values an array of a kind may be made: never one that changes them.
_SOURCES = {"b": "b", "i": "iuf", "u": "iuf", "f": "iuf", "U": "U"}


class _Annotation(abc.ABC):
    """What pydantic asks of an annotation."""

    @abc.abstractmethod
    def parse(self, value: Any) -> Any:
        """Return the value that JSON stands for."""

    @abc.abstractmethod
    def json_schema(self) -> dict[str, Any]:
        """Return the JSON Schema of what is sent."""

    @abc.abstractmethod
    def plain(self, value: Any) -> Any:
        """Return what is sent for a value."""

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> Any:
        from pydantic_core import core_schema

        return core_schema.no_info_plain_validator_function(
            self.parse, serialization=core_schema.plain_serializer_function_ser_schema(self.plain)
        )

    def __get_pydantic_json_schema__(self, core: Any, handler: Any) -> dict[str, Any]:
        return self.json_schema()


class Array(_Annotation):
    """What an array is.

    Args:
        dtype: name of a NumPy dtype.
        shape: a word a dimension: a number is that size, a name any size (equal names, equal sizes); "" is a scalar
            array, None any shape.
    """

    def __init__(self, dtype: str = "float64", shape: str | None = None) -> None:
        self.dtype = dtype
        self.dimensions = None if shape is None else shape.split()

    def parse(self, value: Any) -> Any:
        """Return the array of nested lists.

        Raises:
            ValueError: it is not an array of this kind.
        """
        import numpy as np

        try:
            with np.errstate(over="ignore", invalid="ignore"):
                array = self._converted(np.asarray(value), value)
        except (ValueError, TypeError, OverflowError) as error:
            raise ValueError(f"not an array of {self.dtype}: {error}") from error
        if self.dimensions is not None and not self._fits(array.shape):
            raise ValueError(f"expected the shape ({' '.join(self.dimensions)}), got {tuple(array.shape)}")
        return array

    def _converted(self, found: Any, value: Any) -> Any:
        import numpy as np

        target = np.dtype(self.dtype)
        if target.kind not in _SOURCES or not found.size:
            return np.asarray(value, dtype=target)
        if found.dtype.kind == "O" and target.kind == "f" and all(type(each) in (int, float) for each in found.flat):
            found = found.astype("float64")  # integers beyond 64 bits
        if (
            found is not value
            and found.dtype.kind in "iuf"
            and ((found == 0) | (found == 1)).any()
            and _has_booleans(value)
        ):
            raise ValueError("found booleans among numbers")
        if found.dtype.kind not in _SOURCES[target.kind]:
            raise ValueError(f"found {_kind_in_words(found)}")
        array = found.astype(target, copy=False)
        if target.kind in "iu" and not (array == found).all():
            raise ValueError("a number is not an integer, or out of range")
        return array

    def _fits(self, shape: tuple[int, ...]) -> bool:
        dimensions = self.dimensions or []
        sizes: dict[str, int] = {}
        return len(shape) == len(dimensions) and all(
            size == int(name) if name.isdigit() else sizes.setdefault(name, size) == size
            for name, size in zip(dimensions, shape, strict=True)
        )

    def json_schema(self) -> dict[str, Any]:
        """Return the JSON Schema of the nested lists."""
        import numpy as np

        kind = _SCHEMA_TYPES.get(np.dtype(self.dtype).kind, "string")
        schema: dict[str, Any] = {"type": kind}
        if self.dimensions is None:
            return {"type": "array", "items": {}, "description": f"nested lists of {kind} ({self.dtype})"}
        for name in reversed(self.dimensions):
            size = {"minItems": int(name), "maxItems": int(name)} if name.isdigit() else {}
            schema = {"type": "array", "items": schema, **size}
        return {**schema, "description": f"array of {self.dtype} with the shape ({' '.join(self.dimensions)})"}

    def plain(self, value: Any) -> Any:
        """Return the nested lists of an array, or of what can be made one."""
        import numpy as np

        return np.asarray(value).tolist()


class Frame(_Annotation):
    """What a data frame is.

    Args:
        columns: name of each column and its pandas dtype, in order. A column of floats may have nulls, which become
            NaN; one of objects may have anything.
    """

    def __init__(self, **columns: str) -> None:
        self.columns = columns

    def parse(self, value: Any) -> Any:
        """Return the frame of a list of records, or of an object with a list a column.

        Raises:
            ValueError: it is not a frame of this kind.
        """
        import pandas as pd

        if isinstance(value, pd.DataFrame):
            self._check_names(list(value.columns), "")
            values: dict[str, Any] = {name: value[name] for name in self.columns}
        elif isinstance(value, dict) and all(isinstance(column, list) for column in value.values()):
            self._check_names(list(value), "")
            values = value
        elif isinstance(value, list) and all(isinstance(row, dict) for row in value):
            for number, row in enumerate(value):
                if row.keys() != self.columns.keys():
                    self._check_names(list(row), f"row {number}: ")
            values = {name: [row[name] for row in value] for name in self.columns}
        else:
            raise ValueError("expected a list of records, or an object with a list for each column")
        if len({len(values[name]) for name in self.columns}) > 1:
            raise ValueError("the columns must be of the same length")
        return pd.DataFrame({name: _column(name, dtype, values[name]) for name, dtype in self.columns.items()})

    def _check_names(self, names: list[Any], where: str) -> None:
        missing = [name for name in self.columns if name not in names]
        unknown = [str(name) for name in names if name not in self.columns]
        if missing or unknown:
            raise ValueError(f"{where}missing columns: {missing or 'none'}, unknown columns: {unknown or 'none'}")

    def json_schema(self) -> dict[str, Any]:
        """Return the JSON Schema of the records and of the object of columns."""
        schemas = {name: _column_schema(dtype) for name, dtype in self.columns.items()}
        strict = {"required": list(self.columns), "additionalProperties": False}
        record = {"type": "object", "properties": schemas, **strict}
        lists = {name: {"type": "array", "items": schema} for name, schema in schemas.items()}
        return {
            "anyOf": [{"type": "array", "items": record}, {"type": "object", "properties": lists, **strict}],
            "description": "data frame, as records or as an object with a list for each column",
        }

    def plain(self, value: Any) -> Any:
        """Return the records of a frame; anything else as it is."""
        return value.to_dict(orient="records") if hasattr(value, "to_dict") else value


def _column(name: str, dtype: str, values: Any) -> Any:
    """Return a column of a list of values, or of the column of another frame."""
    import numpy as np
    import pandas as pd

    target = pd.api.types.pandas_dtype(dtype)
    if isinstance(values, pd.Series):
        is_numbers = isinstance(values.dtype, np.dtype) and values.dtype.kind in "biuf"
        values = values.to_numpy() if is_numbers else values.tolist()
    try:
        if isinstance(target, np.dtype) and target.kind in "biuf":
            known = values
            if target.kind == "f" and isinstance(values, list):
                known = [np.nan if value is None else value for value in values]
            return pd.Series(Array(dtype, "rows").parse(known))
        return pd.Series(values, dtype=dtype)
    except (ValueError, TypeError, OverflowError) as error:
        raise ValueError(f"column {name!r}: {error}") from error


def _column_schema(dtype: str) -> dict[str, Any]:
    import numpy as np
    import pandas as pd

    target = pd.api.types.pandas_dtype(dtype)
    if target == np.dtype(object):
        return {}
    kind = _SCHEMA_TYPES.get(target.kind, "string")
    nullable = target.kind == "f" or not isinstance(target, np.dtype)
    return {"type": [kind, "null"] if nullable else kind}


def _has_booleans(value: Any) -> bool:
    """Return whether nested lists have a boolean, which NumPy takes for a number."""
    if not isinstance(value, list):
        return isinstance(value, bool)
    kinds = set(map(type, value))
    return bool in kinds or (list in kinds and any(map(_has_booleans, value)))


def _kind_in_words(found: Any) -> str:
    words = {
        "b": "booleans",
        "i": "integers",
        "u": "integers",
        "f": "floats",
        "U": "text",
        "O": "values of other types",
    }
    return words.get(found.dtype.kind, str(found.dtype))
