"""JSON both ways: the standard library is the oracle."""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import enum
import functools
import json
import math
import re
import sys
import types
import uuid
from collections import OrderedDict, defaultdict
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from azmlinfsrv import codec

# Example-based time limits measure the machine; the whole run has one of its own.
properties = settings(deadline=None, max_examples=150)

EDGES = [
    *(sign * (2**power + more) for power in (31, 53, 62, 63, 64, 65, 100) for more in (-1, 0, 1) for sign in (1, -1)),
    *(10**power + more for power in range(16, 22) for more in (-1, 0, 1)),
]

integers = st.integers() | st.sampled_from(EDGES) | st.integers(-(2**70), 2**70)
numbers = integers | st.floats()
texts = st.text() | st.text(st.characters(codec=None, categories=("Cs", "Cc", "Lu"))) | st.sampled_from(["null", "NaN"])
scalars = st.none() | st.booleans() | numbers | texts
keys = texts | st.none() | st.booleans() | numbers


def nested(leaves: st.SearchStrategy[Any], names: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Return a strategy of lists, tuples and dictionaries of leaves."""
    return st.recursive(
        leaves,
        lambda inner: (
            st.lists(inner, max_size=4)
            | st.lists(inner, max_size=3).map(tuple)
            | st.dictionaries(names, inner, max_size=4)
        ),
        max_leaves=12,
    )


def same(one: Any, other: Any) -> bool:
    """Return whether two values of JSON are the same: types too, signs of zero too, and NaN is NaN."""
    if type(one) is not type(other):
        return False
    if isinstance(one, float):
        return (math.isnan(one) and math.isnan(other)) or (
            one == other and math.copysign(1, one) == math.copysign(1, other)
        )
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, dict):
        return list(one) == list(other) and all(same(one[key], other[key]) for key in one)
    return bool(one == other)


def outcome(function: Any, argument: Any) -> tuple[type[Exception] | None, Any]:
    """Return the error that a call raises, or what it returns."""
    try:
        return None, function(argument)
    except (ValueError, TypeError, RecursionError) as error:
        return type(error), None


# -- In --------------------------------------------------------------------------------------------------------------


@properties
@given(nested(scalars, texts), st.booleans(), st.sampled_from([None, 1, "\t"]))
def test_any_text_means_the_same(value: Any, ascii_only: bool, indent: Any) -> None:
    """Whatever the standard library writes, is read as the standard library reads it."""
    text = json.dumps(value, ensure_ascii=ascii_only, indent=indent).encode("utf-8", "surrogatepass")
    assert same(codec.loads(text), json.loads(text))


@properties
@given(st.from_regex(r"\A-?[0-9]{1,25}(\.[0-9]{0,25})?([eE][+-]?[0-9]{1,4})?\Z"))
@example("-0")
@example("00")
@example("1.")
@example("9007199254740993")
@example("0.1234567890123456789")
def test_any_number_means_the_same(text: str) -> None:
    """A number is the same integer or float, or as wrong, however it is written."""
    mine, theirs = outcome(codec.loads, text.encode()), outcome(json.loads, text)
    assert mine[0] is theirs[0] and same(mine[1], theirs[1])


@properties
@given(
    st.binary(max_size=40)
    | st.text('[]{}",:0123456789.eE+-truefalsnN \n\\\t\x00\ud800', max_size=30).map(
        lambda text: text.encode("utf-8", "surrogatepass")
    )
)
def test_what_is_no_json_is_refused_alike(text: bytes) -> None:
    """Bytes of any kind have the standard library's value, or its error."""
    mine, theirs = outcome(codec.loads, text), outcome(json.loads, text)
    assert mine[0] is theirs[0]
    assert same(mine[1], theirs[1])


@pytest.mark.parametrize(
    "text",
    [
        b"NaN",
        b"[Infinity, -Infinity]",
        b'{"a": NaN}',
        b"1e400",
        b"-1e400",
        b"1e-400",
        b'"\\ud800"',
        b'"\\ud83d\\ude00"',
        b'"\xed\xa0\x80"',
        b"\xef\xbb\xbf{}",
        b'{"a": 1, "a": 2}',
        b'{"": null}',
        '"é"'.encode("utf-16"),
        '["é"]'.encode("utf-16-le"),
        '{"é": 1}'.encode("utf-32"),
        b" \t\r\n[ 1 , 2 ] \n",
        b'"\x7f\xc2\x80"',
        b'"1234567890123456789"',
        b"1234567890123456789",
        b"[0.0001234567890123456789, 18446744073709551616]",
        b"[18446744073709551616, 0.0001234567890123456789]",
        b"[0.0001234567890123456789e1,-99999999999999999999]",
        b"99999999999999999999.0",
        b"123456789012345678901234567890",
        b"[1.7976931348623157e308, 4.9e-324]",
    ],
)
def test_what_the_fast_library_refuses_or_changes(text: bytes) -> None:
    """NaN, infinities, lone surrogates, byte order marks, other encodings and long integers are read."""
    assert same(codec.loads(text), json.loads(text))


def test_deep_texts_are_read_and_written() -> None:
    """Nesting that the fast library refuses and the standard one takes is taken, both ways."""
    text = b"[" * 600 + b"]" * 600
    value = codec.loads(b'{"a":' * 300 + text + b"}" * 300)
    assert codec.dumps(value).replace(b" ", b"").replace(b'{"a":', b"").rstrip(b"}") == text


@pytest.mark.parametrize("number", EDGES)
def test_integers_stay_integers(number: int) -> None:
    """Integers around 2**63 and 2**64 and beyond are exact, both ways, alone and among others."""
    for value in (number, [number], {"a": [1.5, number]}):
        assert same(codec.loads(json.dumps(value).encode()), value)
        assert same(json.loads(codec.dumps(value)), value)


@pytest.mark.parametrize("text", [b"", b" ", b"[1,]", b"{'a': 1}", b"nan", b'{"a" 1}', b"01", b"[1] x", b'"\x01"'])
def test_the_error_is_the_standard_one(text: bytes) -> None:
    """What is not JSON raises the standard library's error, whose words the answer quotes."""
    with pytest.raises(json.JSONDecodeError) as mine:
        codec.loads(text)
    with pytest.raises(json.JSONDecodeError) as theirs:
        json.loads(text)
    assert str(mine.value) == str(theirs.value)


def test_bytes_that_are_no_text_are_refused() -> None:
    """A text that is not UTF-8 is told apart from one that is not JSON."""
    with pytest.raises(UnicodeDecodeError):
        codec.loads(b'{"a": "\xff"}')


def test_a_text_that_is_too_deep_is_refused() -> None:
    """Nesting beyond what Python allows is a RecursionError, and not the end of the process."""
    with pytest.raises(RecursionError):
        codec.loads(b"[" * 200_000 + b"]" * 200_000)


def test_an_integer_that_is_too_long_is_refused() -> None:
    """More digits than Python converts is a ValueError."""
    if not hasattr(sys, "get_int_max_str_digits"):
        pytest.skip("this Python has no limit")
    with pytest.raises(ValueError, match="digits"):
        codec.loads(b"9" * 10_000)


# -- Out -------------------------------------------------------------------------------------------------------------


@properties
@given(nested(scalars, keys))
@example({None: 1, True: 2, 1.5: 3, 7: 4})
@example({1: "a", "1": "b"})
@example([float("nan"), None, -0.0])
def test_any_value_means_the_same(value: Any) -> None:
    """Whatever the standard library writes, Python reads the same from our text."""
    mine, theirs = outcome(codec.dumps, value), outcome(json.dumps, value)
    assert mine[0] is theirs[0]
    if theirs[0] is None:
        assert same(json.loads(mine[1]), json.loads(theirs[1]))


@properties
@given(nested(scalars, texts))
def test_there_and_back(value: Any) -> None:
    """What is written can be read by this codec too, and is UTF-8."""
    text = codec.dumps(value)
    assert same(codec.loads(text), json.loads(text.decode()))


class Colour(enum.Enum):
    """An enumeration with values of several kinds."""

    RED = 1
    GREEN = "green"
    BLUE = (0, 0, 255)


class Word(str, enum.Enum):
    """An enumeration of texts."""

    YES = "yes"


class Level(enum.IntEnum):
    """An enumeration of integers."""

    HIGH = 3


class Text(str):
    """A text of the user's own class."""

    __slots__ = ()


class Whole(int):
    """An integer of the user's own class."""


class Real(float):
    """A float of the user's own class."""


class Pair(NamedTuple):
    """A named tuple."""

    left: int
    right: Any


@pytest.mark.parametrize(
    "value",
    [
        Text("a"),
        Whole(5),
        Real(1.5),
        Real("nan"),
        Word.YES,
        Level.HIGH,
        {Word.YES: 1},
        {Level.HIGH: 1},
        {Text("k"): Text("v")},
        {Whole(3): 1},
        Pair(1, None),
        Pair(1, Pair(2, "x")),
        OrderedDict([("b", 1), ("a", 2)]),
        defaultdict(int, a=1),
        types.SimpleNamespace(a={"x": (1, 2)}).a,
        "\u2028\u2029\x7f\x00",
        "\ud800",
        ["\udfff", "é"],
        float("inf"),
        [1e16, 1e22, 5e-324, 1.7976931348623157e308, 0.1, 1 / 3],
    ],
    ids=repr,
)
def test_classes_that_the_standard_library_writes(value: Any) -> None:
    """Subclasses, enumerations of texts and numbers, and deep values mean what the standard library writes."""
    assert same(json.loads(codec.dumps(value)), json.loads(json.dumps(value)))


@dataclasses.dataclass
class Point:
    """A dataclass that holds another."""

    x: float
    y: Any = None


@dataclasses.dataclass
class Prediction:
    """A dataclass as users write it, with a private field and a value that is computed once."""

    label: str
    _raw: int = 7
    kind: dataclasses.InitVar[str] = "k"

    @functools.cached_property
    def upper(self) -> str:
        """The label in capitals."""
        return self.label.upper()


@dataclasses.dataclass(frozen=True)
class Slotted:
    """A dataclass without a dictionary."""

    __slots__ = ("_a", "b")
    _a: int
    b: int


def warmed(prediction: Prediction) -> Prediction:
    """Return the prediction, whose cached property is there."""
    assert prediction.upper
    return prediction


ZONE = datetime.timezone(datetime.timedelta(hours=5, minutes=30))
EXTRAS: list[tuple[Any, Any]] = [
    (np.int64(-5), -5),
    (np.uint64(2**64 - 1), 2**64 - 1),
    (np.int8(-128), -128),
    (np.float64(0.1), 0.1),
    (np.float64("nan"), float("nan")),
    (np.float32(0.1), np.float32(0.1).item()),
    (np.float16(0.1), np.float16(0.1).item()),
    (np.longdouble(1.5), 1.5),
    (np.array([[1.5], [-2]], np.longdouble), [[1.5], [-2.0]]),
    (np.bool_(True), True),
    (np.str_("a"), "a"),
    (np.array(5), 5),
    (np.array([[1, 2], [3, 4]]), [[1, 2], [3, 4]]),
    (np.arange(6).reshape(2, 3).T, [[0, 3], [1, 4], [2, 5]]),
    (np.arange(10)[::3], [0, 3, 6, 9]),
    (np.array([1, 2], dtype=">i4"), [1, 2]),
    (np.array([0.1, float("nan"), float("inf")]), [0.1, float("nan"), float("inf")]),
    (np.array([0.1, 0.2], dtype=np.float32), np.array([0.1, 0.2], dtype=np.float32).tolist()),
    (np.array([True, False]), [True, False]),
    (np.array(["a", "é"]), ["a", "é"]),
    (np.array([{"a": np.int32(1)}, None, [2]], dtype=object), [{"a": 1}, None, [2]]),
    (np.zeros((0, 3)), []),
    (np.zeros((2, 0)), [[], []]),
    (np.array([b"ab"]), ["YWI="]),
    (np.bytes_(b"ab"), "YWI="),
    (np.datetime64("2021-01-02T03:04:05"), "2021-01-02T03:04:05"),
    (np.array(["2021-01-02T03:04:05"], dtype="M8[s]"), ["2021-01-02T03:04:05"]),
    (np.timedelta64(3, "D"), "3 days"),
    ({"a": np.float64(1.5), "b": [np.int32(2)]}, {"a": 1.5, "b": [2]}),
    (pd.Series([1.5, float("nan")]), [1.5, float("nan")]),
    (pd.Series(["a", "b"]), ["a", "b"]),
    (pd.Series(["a", "b"], dtype="category"), ["a", "b"]),
    (pd.Index([3, 4]), [3, 4]),
    (pd.DataFrame({"a": [1, 2], "b": ["x", "y"]}), [{"a": 1, "b": "x"}, {"a": 2, "b": "y"}]),
    (pd.DataFrame([[1, 2]]), [{"0": 1, "1": 2}]),
    (pd.DataFrame({"a": []}), []),
    (pd.DataFrame({"t": [pd.Timestamp("2021-01-02"), pd.NaT]}), [{"t": "2021-01-02T00:00:00"}, {"t": None}]),
    (pd.Timestamp("2021-01-02 03:04:05", tz="UTC"), "2021-01-02T03:04:05+00:00"),
    (pd.NaT, None),
    (pd.NA, None),
    (pd.array([1, None], dtype="Int64"), [1, None]),
    (pd.Timedelta("1s"), "0 days 00:00:01"),
    (pd.Period("2021-01"), "2021-01"),
    (pd.Interval(0, 1), "(0, 1]"),
    (Point(1.5, Point(2.5)), {"x": 1.5, "y": {"x": 2.5, "y": None}}),
    ([Point(1.5, 2)], [{"x": 1.5, "y": 2}]),
    (Prediction("cat"), {"label": "cat", "_raw": 7}),
    (warmed(Prediction("cat")), {"label": "cat", "_raw": 7}),
    (Slotted(1, 2), {"_a": 1, "b": 2}),
    (datetime.datetime(2021, 1, 2, 3, 4, 5), "2021-01-02T03:04:05"),  # noqa: DTZ001 - users have naive times
    (datetime.datetime(2021, 1, 2, 3, 4, 5, 6, ZONE), "2021-01-02T03:04:05.000006+05:30"),
    (datetime.date(2021, 1, 2), "2021-01-02"),
    (datetime.time(3, 4, 5), "03:04:05"),
    (datetime.time(3, 4, tzinfo=datetime.timezone.utc), "03:04:00+00:00"),
    (datetime.timedelta(days=1, seconds=2), "1 day, 0:00:02"),
    (uuid.UUID(int=5), "00000000-0000-0000-0000-000000000005"),
    (Colour.RED, 1),
    (Colour.GREEN, "green"),
    (Colour.BLUE, [0, 0, 255]),
    (decimal.Decimal("1.5"), 1.5),
    (decimal.Decimal(3), 3),
    (decimal.Decimal(10**30), 10**30),
    (decimal.Decimal("1E+3"), 1000.0),
    (decimal.Decimal("NaN"), float("nan")),
    (decimal.Decimal("-Infinity"), float("-inf")),
]


def name(value: Any) -> str:
    """Return the name of a case."""
    return f"{type(value).__name__}-{value}".replace("\n", " ")


@pytest.mark.parametrize(("value", "meaning"), EXTRAS, ids=[name(value) for value, _ in EXTRAS])
def test_what_the_contract_adds(value: Any, meaning: Any) -> None:
    """NumPy, pandas, dataclasses, dates, UUIDs, enumerations and decimals are encoded."""
    assert same(json.loads(codec.dumps(value)), meaning)


DATES = [np.datetime64("2021-01-02"), np.datetime64("2021-01-02T03:04:05.678"), np.array(["2021-01-02"], dtype="M8[D]")]


@pytest.mark.parametrize("value", [*(value for value, _ in EXTRAS), *DATES], ids=name)
def test_neighbours_change_nothing(value: Any) -> None:
    """A value is written alike whether or not there is a null, or anything else special, beside it."""
    alone = json.loads(codec.dumps(value))
    for neighbour in (None, float("nan"), 2**70, "\ud800", {1: 2}):
        assert same(json.loads(codec.dumps([value, neighbour]))[0], alone)


@properties
@given(
    st.datetimes(timezones=st.none() | st.timezones())
    | st.dates()
    | st.times(timezones=st.none() | st.just(datetime.timezone.utc))
)
def test_dates_are_in_iso_format(value: datetime.date | datetime.time) -> None:
    """Any date or time is written as its `isoformat`."""
    assert json.loads(codec.dumps(value)) == value.isoformat()


@properties
@given(st.lists(st.floats(width=32), max_size=5))
def test_single_precision_keeps_its_value(numbers: list[float]) -> None:
    """A float32 array means what its `tolist()` means, and so what a script that calls that has sent until now."""
    array = np.array(numbers, dtype=np.float32)
    assert same(json.loads(codec.dumps(array)), json.loads(json.dumps(array.tolist())))


@pytest.mark.parametrize(
    ("value", "error"),
    [
        ({1, 2}, TypeError),
        (b"bytes", TypeError),
        (bytearray(b"bytes"), TypeError),
        (1j, TypeError),
        (range(3), TypeError),
        (map(str, [1]), TypeError),
        (object(), TypeError),
        (Point, TypeError),
        (len, TypeError),
        (ValueError("x"), TypeError),
        ({(1, 2): 3}, TypeError),
        ({Colour.RED: 3}, TypeError),
        ({np.int64(1): 3}, TypeError),
        ([[{1}]], TypeError),
    ],
    ids=lambda each: re.sub(" at 0x[0-9a-f]+", "", repr(each)),
)
def test_what_json_cannot_hold(value: Any, error: type[Exception]) -> None:
    """What neither the standard library nor the contract encodes is an error, as it is there."""
    with pytest.raises(error):
        codec.dumps(value)
    with pytest.raises(error):
        json.dumps(value)


def test_the_error_names_the_type() -> None:
    """The log can say what it was that JSON cannot hold."""
    with pytest.raises(TypeError, match="Object of type set is not JSON serializable"):
        codec.dumps({"a": {1}})


def test_a_value_that_holds_itself() -> None:
    """A circle is a ValueError, as in the standard library."""
    circle: list[Any] = []
    circle.append(circle)
    with pytest.raises(ValueError, match="Circular"):
        codec.dumps(circle)


def test_a_value_that_is_too_deep() -> None:
    """Nesting beyond what Python allows is a RecursionError."""
    deep: list[Any] = []
    for _ in range(200_000):
        deep = [deep]
    with pytest.raises(RecursionError):
        codec.dumps(deep)
    while deep:  # taken apart here: the interpreter of some versions cannot
        deep = deep.pop()


def test_neither_numpy_nor_pandas_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Values of other kinds are encoded where NumPy and pandas are not imported."""
    monkeypatch.delitem(sys.modules, "numpy")
    monkeypatch.delitem(sys.modules, "pandas")
    assert codec.dumps([uuid.UUID(int=1), decimal.Decimal(2), datetime.date(2021, 1, 2), None])
    with pytest.raises(TypeError):
        codec.dumps(object())
