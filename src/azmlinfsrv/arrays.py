"""Annotations for NumPy arrays and pandas data frames in a typed ``run()``.

``Annotated[np.ndarray, Array("float32", "n 4")]`` is an array of any number of rows with four columns, sent as nested
lists; ``Annotated[pd.DataFrame, Frame(age="float64", name="object")]`` is a frame with these columns, sent as records
or as an object of columns.
"""

from __future__ import annotations

from typing import Any

_SCHEMA_TYPES = {"b": "boolean", "i": "integer", "u": "integer", "f": "number"}


class Array:
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
            array = np.asarray(value, dtype=self.dtype)
        except (ValueError, TypeError, OverflowError) as error:
            raise ValueError(f"not an array of {self.dtype}: {error}") from error
        if self.dimensions is not None and not self._fits(array.shape):
            raise ValueError(f"expected the shape ({' '.join(self.dimensions)}), got {tuple(array.shape)}")
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

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> Any:
        from pydantic_core import core_schema

        return core_schema.no_info_plain_validator_function(
            self.parse, serialization=core_schema.plain_serializer_function_ser_schema(_to_lists)
        )

    def __get_pydantic_json_schema__(self, core: Any, handler: Any) -> dict[str, Any]:
        return self.json_schema()


class Frame:
    """What a data frame is.

    Args:
        columns: name of each column and its dtype, in order.
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
            frame = value
        elif isinstance(value, list) and all(isinstance(row, dict) for row in value):
            frame = pd.DataFrame.from_records(value, columns=None if value else list(self.columns))
        elif isinstance(value, dict):
            frame = pd.DataFrame(value)
        else:
            raise ValueError("expected a list of records, or an object with a list for each column")
        missing = [name for name in self.columns if name not in frame.columns]
        unknown = [str(name) for name in frame.columns if name not in self.columns]
        if missing or unknown:
            raise ValueError(f"missing columns: {missing or 'none'}, unknown columns: {unknown or 'none'}")
        try:
            return frame[list(self.columns)].astype(self.columns)
        except (ValueError, TypeError) as error:
            raise ValueError(f"a column has values of another type: {error}") from error

    def json_schema(self) -> dict[str, Any]:
        """Return the JSON Schema of the records."""
        import numpy as np

        kinds = {name: _SCHEMA_TYPES.get(np.dtype(dtype).kind, "string") for name, dtype in self.columns.items()}
        record = {
            "type": "object",
            "properties": {name: {"type": kind} for name, kind in kinds.items()},
            "required": list(self.columns),
            "additionalProperties": False,
        }
        return {"type": "array", "items": record, "description": "data frame, as records"}

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> Any:
        from pydantic_core import core_schema

        return core_schema.no_info_plain_validator_function(
            self.parse, serialization=core_schema.plain_serializer_function_ser_schema(_to_records)
        )

    def __get_pydantic_json_schema__(self, core: Any, handler: Any) -> dict[str, Any]:
        return self.json_schema()


def _to_lists(array: Any) -> Any:
    return array.tolist()


def _to_records(frame: Any) -> Any:
    return frame.to_dict(orient="records")
