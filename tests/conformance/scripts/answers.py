"""Undecorated: returns the value that the request names, as it is."""

import collections
import dataclasses
import datetime
import decimal
import enum
import json
import uuid

import numpy as np
import pandas as pd


class Colour(enum.Enum):
    """An enumeration."""

    RED = "red"


class Level(enum.IntEnum):
    """An enumeration of integers."""

    HIGH = 3


class Text(str):
    """A string of its own class."""


class Plain:
    """An object without any conversion."""


@dataclasses.dataclass
class Point:
    """A data class."""

    x: int
    y: float


Pair = collections.namedtuple("Pair", "left right")


def circular():
    """A list that holds itself."""
    value = []
    value.append(value)
    return value


def deep(levels):
    """Lists in lists."""
    value = []
    for _ in range(levels):
        value = [value]
    return value


FRAME = pd.DataFrame({"a": [1, 2], "b": ["x", None]})
VALUES = {
    "none": lambda: None,
    "true": lambda: True,
    "false": lambda: False,
    "zero": lambda: 0,
    "integer": lambda: -42,
    "big-integer": lambda: 2**200,
    "float": lambda: 0.1,
    "whole-float": lambda: 3.0,
    "minus-zero": lambda: -0.0,
    "floats": lambda: [1e16, 1e22, 1.5e-7, 5e-324, 1.7976931348623157e308],
    "nan": lambda: float("nan"),
    "infinities": lambda: {"a": float("inf"), "b": [float("-inf")]},
    "text": lambda: "hello",
    "empty-text": lambda: "",
    "unicode": lambda: "żółć 日本語 🎉",
    "escapes": lambda: 'a"b\\c/d\b\f\n\r\t\x00\x1f\x7f\u2028</script>',
    "lone-surrogate": lambda: "a\ud83cb",
    "json-text": lambda: json.dumps({"a": [1, 2.0, None]}),
    "text-class": lambda: Text("own"),
    "bytes": lambda: b"bytes",
    "bytearray": lambda: bytearray(b"bytes"),
    "list": lambda: [1, "two", 3.0, None, True],
    "empty-list": lambda: [],
    "tuple": lambda: (1, (2, 3)),
    "tuple-status": lambda: ({"error": "bad"}, 400),
    "tuple-headers": lambda: ("text", 201, {"x-own": "1"}),
    "dict": lambda: {"a": 1, "b": {"c": [1]}},
    "empty-dict": lambda: {},
    "dict-order": lambda: {"z": 1, "a": 2, "m": 3},
    "dict-keys": lambda: {1: "int", 2.5: "float", True: "bool", None: "none"},
    "dict-float-keys": lambda: {1.0: "a", float("nan"): "b", float("inf"): "c", 1e22: "d"},
    "dict-same-keys": lambda: {1: "a", "1": "b"},
    "dict-big-key": lambda: {2**100: 1},
    "dict-tuple-key": lambda: {(1, 2): "x"},
    "dict-enum-key": lambda: {Level.HIGH: "x"},
    "set": lambda: {1},
    "generator": lambda: (i for i in range(3)),
    "iterator": lambda: iter([1, 2]),
    "range": lambda: range(3),
    "map": lambda: map(str, [1, 2]),
    "object": Plain,
    "class": lambda: Plain,
    "function": lambda: circular,
    "exception": lambda: ValueError("returned"),
    "complex": lambda: 1 + 2j,
    "datetime": lambda: datetime.datetime(2024, 2, 29, 12, 30, 15),
    "date": lambda: {"day": datetime.date(2024, 2, 29)},
    "uuid": lambda: uuid.UUID(int=5),
    "decimal": lambda: decimal.Decimal("1.50"),
    "enum": lambda: Colour.RED,
    "int-enum": lambda: [Level.HIGH],
    "dataclass": lambda: Point(1, 2.5),
    "namedtuple": lambda: Pair(1, "b"),
    "ordered-dict": lambda: collections.OrderedDict([("b", 1), ("a", 2)]),
    "default-dict": lambda: collections.defaultdict(int, {"a": 1}),
    "counter": lambda: collections.Counter("aab"),
    "deque": lambda: collections.deque([1, 2]),
    "array": lambda: np.array([[1.5, 2.0], [3.0, 4.0]]),
    "array-tolist": lambda: np.arange(6).reshape(2, 3).tolist(),
    "array-nan": lambda: np.array([np.nan, 1.0]).tolist(),
    "array-in-dict": lambda: {"result": np.array([1, 2])},
    "array-zero-dimensions": lambda: np.array(5),
    "array-text": lambda: np.array(["a", "b"]),
    "array-object": lambda: np.array([{"a": 1}, None], dtype=object),
    "float64": lambda: np.float64(1.5),
    "float64-nan": lambda: np.float64("nan"),
    "float32": lambda: np.float32(1.5),
    "int64": lambda: np.int64(7),
    "numpy-bool": lambda: np.bool_(True),
    "numpy-str": lambda: np.str_("s"),
    "numpy-datetime": lambda: np.datetime64("2024-02-29"),
    "numpy-key": lambda: {np.int64(1): "x"},
    "frame": lambda: FRAME,
    "frame-to-json": lambda: FRAME.to_json(),
    "frame-to-json-records": lambda: FRAME.to_json(orient="records"),
    "frame-to-dict": lambda: {"a": FRAME["a"].tolist()},
    "series": lambda: FRAME["a"],
    "timestamp": lambda: pd.Timestamp("2024-02-29T12:00:00"),
    "pandas-na": lambda: pd.NA,
    "circular": circular,
    "deep": lambda: deep(300),
    "too-deep": lambda: deep(100000),
    "long-list": lambda: list(range(20000)),
    "long-text": lambda: "é" * 100000,
}


def init():
    """Nothing to prepare."""


def run(data):
    """Return the value that is named."""
    return VALUES[json.loads(data)]()
