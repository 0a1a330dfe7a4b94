"""Typed `run()`: what makes one, how its input is validated, and how both ends are described."""

from __future__ import annotations

import enum
import functools
import importlib.abc
import json
import logging
import math
import re
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Annotated, Any, Literal, Optional, Union

import numpy as np
import pandas as pd
import pytest
from jsonschema import Draft202012Validator
from pydantic import BaseModel, ConfigDict, Field, field_validator
from typing_extensions import NotRequired, TypeAliasType, TypedDict

from azmlinfsrv import AMLResponse, Array, Frame
from azmlinfsrv.errors import BadInputError, InvalidInputError, ScriptError, UnsupportedInputError
from azmlinfsrv.inputs import input_parser
from azmlinfsrv.messages import Response
from azmlinfsrv.outputs import error_response
from azmlinfsrv.schema import Swagger
from azmlinfsrv.scorer import Scorer
from azmlinfsrv.script import Script, Style
from azmlinfsrv.settings import Settings
from azmlinfsrv.typed import TypedRun, json_type, path_of
from tests.unit.http_fakes import headers_of, logged, request

JSON = "application/json"


class Port(enum.Enum):
    """Where a passenger came on board."""

    SOUTHAMPTON = "S"
    CHERBOURG = "C"


class Passenger(BaseModel):
    """One person on board."""

    name: str = Field(description="whole name", min_length=1)
    age: Annotated[float, Field(ge=0, le=150)] | None = None
    port: Port = Port.SOUTHAMPTON


@dataclass
class Cabin:
    """Where a passenger sleeps."""

    deck: Literal["A", "B"]
    berths: list[int] = field(default_factory=list)


class Ticket(TypedDict):
    """What a passenger paid."""

    price: float
    currency: NotRequired[str]


class Node(BaseModel):
    """A tree."""

    value: int
    children: list[Node] = []


Deep = TypeAliasType("Deep", "list[Deep] | int | None")


class Prediction(BaseModel):
    """What the model says."""

    survived: bool
    share: float = Field(alias="probability", default=0.5)


def script_of(run: Callable[..., Any]) -> Script:
    """Return the script whose `run()` this is."""
    module = ModuleType("entry_module")
    module.__file__ = "score.py"
    module.init = lambda: None  # type: ignore[attr-defined]
    module.run = run  # type: ignore[attr-defined]
    return Script(module)


def typed(run: Callable[..., Any]) -> TypedRun:
    """Return what a `run()` takes, which has to be typed."""
    script = script_of(run)
    assert script.style is Style.TYPED
    assert script.typed is not None
    return script.typed


def no_flask(_: object) -> Any:
    """Refuse: nothing here uses Flask."""
    raise AssertionError


def arguments(run: Callable[..., Any], body: object, method: str = "POST", target: str = "/score") -> dict[str, Any]:
    """Return the arguments that a request gives a `run()`."""
    parse = input_parser(script_of(run), no_flask)
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return parse(request(method, target, content, content_type=JSON))


def errors(run: Callable[..., Any], body: object) -> list[tuple[str, str, str]]:
    """Return the path, reason and received type of each error of an input, as the answer has them."""
    with pytest.raises(InvalidInputError) as caught:
        arguments(run, body)
    response = error_response(caught.value)
    assert response.status == 400
    answer = json.loads(response.body)
    assert list(answer) == ["message", "errors"]
    assert answer["message"].startswith(f"The input is not valid, {len(answer['errors'])} error")
    return [(each["path"], each["reason"], each["received"]) for each in answer["errors"]]


def score(run: Callable[..., Any], body: object = None) -> Response:
    """Return the answer of a script to a request."""
    script = script_of(run)
    content = json.dumps({} if body is None else body).encode()
    scorer = Scorer(script, input_parser(script, no_flask), None)
    return scorer.score(request("POST", "/score", content, content_type=JSON), lambda call, values: call(**values))


# -- What makes a run() typed ----------------------------------------------------------------------------------------


def untyped(data):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
    """Take text."""
    return data


def text(data: str) -> str:
    """Take text."""
    return data


def anything(data: Any) -> Any:
    """Take text."""
    return data


def an_object(data: object) -> object:
    """Take text."""
    return data


def unreadable(data: Missing) -> None:  # type: ignore[name-defined]  # noqa: F821
    """Take text, for nobody knows what Missing is."""


def array(data: np.ndarray) -> None:
    """Take text: nothing says how JSON stands for the array."""


def text_and_more(data: str, limit: int = 3) -> None:
    """Take text, and a number that is never given."""


def partly(data, limit: int = 3) -> None:  # type: ignore[no-untyped-def]  # noqa: ANN001
    """Take text."""


@pytest.mark.parametrize("run", [untyped, text, anything, an_object, unreadable, array, text_and_more, partly])
def test_the_old_meaning_is_kept(run: Callable[..., Any]) -> None:
    """A script that the released server calls with text is called with text, if no annotation says what is in it."""
    script = script_of(run)
    assert (script.style, script.typed) == (Style.JSON_TEXT, None)
    assert input_parser(script, no_flask)(request("POST", "/score", b"[1, 2]")) == {"data": "[1, 2]"}


@pytest.mark.parametrize(("run", "reason"), [(unreadable, "Missing"), (array, "text")])
def test_annotations_that_are_ignored_are_warned_of(run: Callable[..., Any], reason: str) -> None:
    """Annotations that cannot be used are named in one warning."""
    with logged("azmlinfsrv.user_script", logging.WARNING) as lines:
        script_of(run)
    assert len(lines) == 1
    assert reason in lines[0]


def test_a_script_that_cannot_do_without_its_annotations() -> None:
    """Where the released server could not call run() at all, annotations that cannot be used stop the start."""

    def run(data: np.ndarray, other: int) -> None: ...

    with pytest.raises(ScriptError, match="annotations of run"):
        script_of(run)


def test_two_texts_are_typed() -> None:
    """Two required parameters cannot be one text."""

    def run(question: str, context: str) -> str:
        return question + context

    assert arguments(run, {"question": "a", "context": "b"}) == {"question": "a", "context": "b"}


def test_the_start_says_how_run_is_called() -> None:
    """The log has the names of the arguments."""

    def run(a: int, b: int = 2) -> int:
        return a + b

    with logged("azmlinfsrv.user_script") as lines:
        script_of(run)
    assert "run() is typed. Server will invoke it with the following arguments: a, b." in lines


class _Hide(importlib.abc.MetaPathFinder):
    def find_spec(self, name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        if name.partition(".")[0] == "pydantic":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return None


def test_without_pydantic(monkeypatch: pytest.MonkeyPatch) -> None:
    """A typed script without pydantic stops the start with one line that says what to install; others do not."""
    for name in [name for name in sys.modules if name.partition(".")[0] == "pydantic" or name == "azmlinfsrv.typed"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "meta_path", [_Hide(), *sys.meta_path])

    def run(data: int) -> int:
        return data

    with pytest.raises(ScriptError) as caught:
        script_of(run)
    assert caught.value.message == "run() is typed, which needs pydantic. Run: pip install 'azmlinfsrv[typed]'"
    assert script_of(text).style is Style.JSON_TEXT


# -- Input -----------------------------------------------------------------------------------------------------------


def test_models() -> None:
    """Lists of models, optional fields, enumerations and nested types arrive as what they are."""

    def run(passengers: list[Passenger], cabin: Cabin, ticket: Ticket) -> None: ...

    body = {
        "passengers": [{"name": "Ada", "age": 36, "port": "C"}, {"name": "Bob"}],
        "cabin": {"deck": "A"},
        "ticket": {"price": 7},
    }
    assert arguments(run, body) == {
        "passengers": [Passenger(name="Ada", age=36, port=Port.CHERBOURG), Passenger(name="Bob")],
        "cabin": Cabin("A", []),
        "ticket": {"price": 7.0},
    }


@pytest.mark.parametrize(
    ("annotation", "value", "expected"),
    [
        (int, 5, 5),
        (Port, "S", Port.SOUTHAMPTON),
        (Literal["a", "b"], "b", "b"),
        (Optional[int], None, None),  # noqa: UP045 - as users write it
        (Union[int, list[int]], [1], [1]),  # noqa: UP007
        (dict[str, float], {"a": 1}, {"a": 1.0}),
        (tuple[int, str], [1, "a"], (1, "a")),
        (set[int], [1, 1], {1}),
        (Annotated[int, Field(gt=3)], 4, 4),
        (Annotated[str, Field(pattern="^a")], "ab", "ab"),
        (list[Any], [1, "a", None], [1, "a", None]),
        (Node, {"value": 1, "children": [{"value": 2}]}, Node(value=1, children=[Node(value=2)])),
        (float, 10**30, 1e30),
        (int, 2**70, 2**70),
    ],
    ids=str,
)
def test_annotations(annotation: Any, value: Any, expected: Any) -> None:
    """A value becomes what its annotation says."""

    def run(data):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
        return data

    run.__annotations__["data"] = annotation
    assert arguments(run, {"data": value}) == {"data": expected}


def test_arrays_and_frames() -> None:
    """Annotated arrays and frames arrive as NumPy's and pandas', or are refused with their place."""

    def run(
        x: Annotated[np.ndarray, Array("float32", "n 2")],
        table: Annotated[pd.DataFrame, Frame(a="int64")],
    ) -> None: ...

    found = arguments(run, {"x": [[1, 2]], "table": [{"a": 1}]})
    assert (found["x"].dtype, found["x"].shape) == (np.float32, (1, 2))
    assert list(found["table"]["a"]) == [1]
    assert errors(run, {"x": [[1]], "table": [{"b": 1}]}) == [
        ("x", "expected the shape (n 2), got (1, 1)", "array"),
        ("table", "row 0: missing columns: ['a'], unknown columns: ['b']", "array"),
    ]


def test_defaults() -> None:
    """What is left out has its default, and what is added is left out."""

    def run(a: int, b: int = 2, c: str | None = None) -> None: ...

    assert arguments(run, {"a": 1, "unknown": 3}) == {"a": 1, "b": 2, "c": None}


def test_mutable_defaults_are_not_shared() -> None:
    """Each call has a default of its own, be it a list, a model or an array."""
    model, numbers = Node(value=1), np.zeros(2)

    def run(
        a: list[int] = [],  # noqa: B006 - as users write it
        node: Node = model,
        x: Annotated[np.ndarray, Array("float64", "n")] = numbers,
    ) -> None: ...

    first, second = arguments(run, {}), arguments(run, {})
    first["a"].append(1)
    first["node"].children.append(model)
    first["x"][0] = 7
    assert (second["a"], second["node"], second["x"].tolist()) == ([], Node(value=1), [0, 0])
    assert (model.children, numbers.tolist()) == ([], [0, 0])
    properties = typed(run).input_schema["properties"]
    assert [part["default"] for part in properties.values()] == [[], {"value": 1, "children": []}, [0.0, 0.0]]


def test_names_that_models_cannot_have() -> None:
    """A parameter may have any name: of a method of pydantic's, with an underscore, of a keyword of dataclasses."""

    def run(model_config: int, json: int, _private: int, self_: int, copy: int, dict: int) -> None: ...  # noqa: A002

    values = {"model_config": 1, "json": 2, "_private": 3, "self_": 4, "copy": 5, "dict": 6}
    assert arguments(run, values) == values


def test_request_headers_beside_typed_parameters() -> None:
    """`request_headers` is given as ever, and is no part of the input."""

    def run(data: int, request_headers: dict[str, str]) -> None: ...

    found = arguments(run, {"data": 1, "request_headers": "no"})
    assert found == {"data": 1, "request_headers": {"Content-Type": JSON}}
    assert list(typed(run).input_schema["properties"]) == ["data"]


def test_nan_and_infinity_are_taken() -> None:
    """NaN and Infinity mean what `json.loads` says, as in all styles."""

    def run(data: list[float]) -> None: ...

    first, second = arguments(run, b'{"data": [NaN, -Infinity]}')["data"]
    assert math.isnan(first) and second == -math.inf


# -- Errors ----------------------------------------------------------------------------------------------------------


def test_every_error_is_listed() -> None:
    """Each error has the path, the reason and the received type."""

    def run(passengers: list[Passenger], cabin: Cabin, limit: int) -> None: ...

    body = {
        "passengers": [{"name": "", "age": 200}, {"age": "old", "port": 5}, 7],
        "cabin": {"deck": "Z", "berths": [1, {}]},
    }
    assert errors(run, body) == [
        ("passengers[0].name", "String should have at least 1 character", "string"),
        ("passengers[0].age", "Input should be less than or equal to 150", "integer"),
        ("passengers[1].name", "Field required", "nothing"),
        ("passengers[1].age", "Input should be a valid number, unable to parse string as a number", "string"),
        ("passengers[1].port", "Input should be 'S' or 'C'", "integer"),
        ("passengers[2]", "Input should be an object", "integer"),
        ("cabin.deck", "Input should be 'A' or 'B'", "string"),
        ("cabin.berths[1]", "Input should be a valid integer", "object"),
        ("limit", "Field required", "nothing"),
    ]


@pytest.mark.parametrize(
    ("value", "name"),
    [
        (None, "null"),
        (True, "boolean"),
        (1, "integer"),
        (1.5, "number"),
        ("a", "string"),
        ([], "array"),
        ({}, "object"),
        (b"a", "bytes"),
    ],
)
def test_names_of_received_types(value: Any, name: str) -> None:
    """The received type has JSON's name; what JSON does not have, Python's."""
    assert json_type(value) == name


def test_paths_have_only_what_is_in_the_input() -> None:
    """The members of a union and other inner names of pydantic's are no part of a path."""

    def run(data: int | list[int] | Passenger) -> None: ...

    assert {path for path, _, _ in errors(run, {"data": {"name": 1}})} == {"data", "data.name"}
    assert {path for path, _, _ in errors(run, {"data": ["x"]})} == {"data", "data[0]"}
    assert path_of(["a", 0, "b"], {"a": [{}]}, missing=True) == "a[0].b"


def test_reasons_of_validators() -> None:
    """What the user's own validator says is the reason."""

    class Even(BaseModel):
        number: int

        @field_validator("number")
        @classmethod
        def check(cls, number: int) -> int:
            if number % 2:
                raise ValueError("must be even")
            return number

    def run(data):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
        return data

    run.__annotations__["data"] = Even
    assert errors(run, {"data": {"number": 3}}) == [("data.number", "must be even", "integer")]


def one_number(data: int) -> int:
    """Give the number back."""
    return data


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "POST body is empty. Expecting a JSON dictionary."),
        (b"[1]", "POST body should be a JSON dictionary."),
        (b"null", "POST body should be a JSON dictionary."),
        (b"5", "POST body should be a JSON dictionary."),
        (b"{", "POST body could not be decoded as JSON: EOF while parsing"),
        (b"\xff", "POST body could not be decoded as JSON: "),
        (b"[" * 100_000, "POST body could not be decoded as JSON: "),
    ],
)
def test_bodies_that_are_no_object(body: bytes, message: str) -> None:
    """What is not a JSON object is refused with the messages of schema scripts."""
    with pytest.raises(BadInputError) as caught:
        arguments(one_number, body)
    assert caught.value.message.startswith(message)
    assert not isinstance(caught.value, InvalidInputError)


def test_the_content_type_has_to_be_json() -> None:
    """A body of another type is 415."""
    parse = input_parser(script_of(one_number), no_flask)
    with pytest.raises(UnsupportedInputError):
        parse(request("POST", "/score", b'{"data": 1}', content_type="text/plain"))


def test_a_long_list_of_errors_has_a_short_summary() -> None:
    """The message names three errors, the list has all."""

    def run(data: list[int]) -> None: ...

    with pytest.raises(InvalidInputError) as caught:
        arguments(run, {"data": ["x"] * 10})
    assert caught.value.message.startswith("The input is not valid, 10 errors: data[0]: ")
    assert caught.value.message.count(";") == 2
    assert len(caught.value.errors) == 10


# -- Queries ---------------------------------------------------------------------------------------------------------


def query_run(number: int = 0, text: str = "", tags: list[str] | None = None, port: Port | None = None) -> None:
    """Take anything."""


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("number=5", {"number": 5}),
        ("text=a%20b", {"text": "a b"}),
        ("text=5", {"text": "5"}),
        ("text=null&number=1", {"text": "null", "number": 1}),
        ("tags=1&tags=b", {"tags": ["1", "b"]}),
        ('tags=["a"]', {"tags": ["a"]}),
        ("port=C", {"port": Port.CHERBOURG}),
        ("", {}),
    ],
)
def test_get_with_query_values(query: str, expected: dict[str, Any]) -> None:
    """The values of a query are JSON where that fits, and else the text that was sent."""
    found = arguments(query_run, b"", "GET", f"/score?{query}")
    assert found == {"number": 0, "text": "", "tags": None, "port": None, **expected}


def test_a_query_that_does_not_fit() -> None:
    """The errors of a query are those of a body."""
    with pytest.raises(InvalidInputError) as caught:
        arguments(query_run, b"", "GET", "/score?number=x&text=5")
    assert [each["path"] for each in caught.value.errors][:1] == ["number"]


# -- Results ---------------------------------------------------------------------------------------------------------


def answer_of(run: Callable[..., Any], body: object = None) -> Any:
    """Return the value of a script's answer."""
    response = score(run, body)
    assert response.status == 200
    return json.loads(response.body)


def test_results_are_encoded_as_their_annotation_says() -> None:
    """Models, with their aliases, dataclasses and enumerations are written as the schema describes them."""

    def run(data: int) -> dict[str, Prediction | Cabin | Port]:  # noqa: ARG001
        return {"p": Prediction(survived=True, probability=0.25), "c": Cabin("A"), "e": Port.CHERBOURG}

    assert answer_of(run, {"data": 1}) == {
        "p": {"survived": True, "probability": 0.25},
        "c": {"deck": "A", "berths": []},
        "e": "C",
    }


def test_results_of_another_type_than_annotated() -> None:
    """NumPy's values stand for Python's; the annotation does not refuse them."""

    def run(data: int) -> dict[str, list[float]]:  # noqa: ARG001
        return {"a": np.array([1.5, 2]), "b": [np.float32(0.5)]}  # type: ignore[dict-item, list-item]

    assert answer_of(run, {"data": 1}) == {"a": [1.5, 2.0], "b": [0.5]}


def test_annotated_arrays_and_frames_are_written() -> None:
    """Arrays are written as nested lists, frames as records."""

    def run(
        x: Annotated[np.ndarray, Array("float64", "n")],
    ) -> Annotated[pd.DataFrame, Frame(a="float64")]:
        return pd.DataFrame({"a": x})

    assert answer_of(run, {"x": [1, 2]}) == [{"a": 1.0}, {"a": 2.0}]


@pytest.mark.parametrize("as_model", [False, True])
def test_nan_stays_nan(as_model: bool) -> None:
    """NaN and Infinity in a result are written as `json.dumps` writes them."""

    class Row(BaseModel):
        values: list[float]

    def plain(data: int) -> list[float]:  # noqa: ARG001
        return [math.nan, math.inf, 1.5]

    def model(data):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202, ARG001
        return Row(values=[math.nan, math.inf, 1.5])

    model.__annotations__.update(data=int, **{"return": Row})
    response = score(model if as_model else plain, {"data": 1})
    assert b"NaN" in response.body and b"Infinity" in response.body


def test_results_without_a_known_type() -> None:
    """Bytes are sent as they are, and what pydantic does not know is encoded as ever."""

    def raw(data: int) -> bytes:  # noqa: ARG001
        return b"\x00\xff"

    def numbers(data: int) -> np.ndarray:
        return np.arange(data)

    response = score(raw, {"data": 1})
    assert (response.body, headers_of(response)["content-type"]) == (b"\x00\xff", "application/octet-stream")
    assert answer_of(numbers, {"data": 3}) == [0, 1, 2]


class _Colour(enum.Enum):
    """A colour, or none."""

    RED = "red"
    NONE = None


@pytest.mark.parametrize(
    "annotation",
    [
        None,
        Prediction | None,
        Optional[list[int]],  # noqa: UP045 - as users write it
        Annotated[Union[None, int, str], Field(description="A number.")],  # noqa: RUF036, UP007 - as users write it
        Annotated[Prediction | None, Field(default=None)],
        Literal["a", None],  # noqa: PYI061 - as users write it
        Literal[None],  # noqa: PYI061 - as users write it
        _Colour,
        Annotated[pd.DataFrame, Frame(a="float64")] | None,
        Deep,
    ],
    ids=lambda annotation: re.sub(" at 0x[0-9a-f]+", "", str(annotation)),
)
def test_none_is_null_where_the_annotation_has_it(annotation: Any) -> None:
    """None is written as the description says where that names null, also where nothing else is returned."""

    def run(data: int):  # type: ignore[no-untyped-def]  # noqa: ANN202, ARG001
        return None

    run.__annotations__["return"] = annotation
    response = score(run, {"data": 1})
    assert (response.status, response.body) == (200, b"null")
    assert headers_of(response)["content-type"] == JSON
    validator = Draft202012Validator({**typed(run).output_schema, "components": {"schemas": typed(run).definitions}})
    assert validator.is_valid(None) and not validator.is_valid(1.5)


@pytest.mark.parametrize(
    "annotation",
    ["none", Any, object, Prediction, dict[str, int], list[int | None], dict | AMLResponse | None],
    ids=str,
)
def test_none_is_an_empty_object_elsewhere(annotation: Any) -> None:
    """None is `{}`, as in every script, where the annotation is missing or does not name it."""

    def run(data: int):  # type: ignore[no-untyped-def]  # noqa: ANN202, ARG001
        return None

    if annotation != "none":
        run.__annotations__["return"] = annotation
    assert score(run, {"data": 1}).body == b"{}"


def test_other_results_where_none_is_declared() -> None:
    """A result of a script that says that it returns nothing is sent all the same."""

    def run(data: int) -> None:
        return {"data": data}  # type: ignore[return-value]

    assert answer_of(run, {"data": 1}) == {"data": 1}
    assert (typed(run).output_schema, typed(run).media_type) == ({"type": "null"}, JSON)


def test_http_responses() -> None:
    """An `AMLResponse` keeps its status and headers, also where the annotation allows a result beside it."""

    def run(data: int) -> dict[str, int] | AMLResponse:
        return {"a": data} if data else AMLResponse({"m": "none"}, 404, {"x-own": "1"}, json_str=True)

    assert answer_of(run, {"data": 1}) == {"a": 1}
    response = score(run, {"data": 0})
    assert (response.status, response.body) == (404, b'{"m":"none"}')
    assert headers_of(response)["x-own"] == "1"
    assert typed(run).media_type == "*/*"


def test_generators() -> None:
    """A generator is streamed: models as lines of JSON, text as it is."""

    def models(data: int) -> Iterator[Prediction]:  # noqa: ARG001
        yield Prediction(survived=True)
        yield Prediction(survived=False)

    def words(data: int) -> Iterator[str]:  # noqa: ARG001
        yield "a"

    response = score(models, {"data": 1})
    assert isinstance(response.stream, Iterator)
    lines = b"".join(response.stream).splitlines()
    assert [json.loads(line)["survived"] for line in lines] == [True, False]
    assert typed(models).media_type == headers_of(response)["content-type"] == "application/x-ndjson"
    assert typed(words).media_type == "text/plain"


@pytest.mark.anyio
async def test_async_run() -> None:
    """An `async def run()` gets validated arguments, and its errors are the same."""

    async def run(data: Passenger) -> Prediction:
        return Prediction(survived=data.age is None)

    script = script_of(run)
    assert script.is_async and script.style is Style.TYPED
    scorer = Scorer(script, input_parser(script, no_flask), None)
    good = await scorer.score_async(request("POST", "/score", b'{"data": {"name": "Ada"}}', content_type=JSON), 1000)
    assert json.loads(good.body) == {"survived": True, "probability": 0.5}
    bad = await scorer.score_async(request("POST", "/score", b'{"data": {}}', content_type=JSON), 1000)
    assert (bad.status, json.loads(bad.body)["errors"][0]["path"]) == (400, "data.name")


def test_async_generators_are_streams() -> None:
    """An async generator is described as a stream."""

    async def run(data: int) -> AsyncIterator[bytes]:  # noqa: ARG001
        yield b""

    assert typed(run).media_type == "application/octet-stream"


# -- The description -------------------------------------------------------------------------------------------------


def described_run(passengers: list[Passenger], cabin: Cabin | None = None, top: Literal[1, 3] = 3) -> Prediction:
    """Tell who survives.

    Of the passengers given.
    """
    return Prediction(survived=bool(passengers) and cabin is None and top == 3)


def test_descriptions_defaults_and_constraints_reach_the_schema() -> None:
    """Docstrings, descriptions, defaults, enumerations and constraints are in the schema."""
    found = typed(described_run)
    assert found.description == "Tell who survives.\n\nOf the passengers given."
    assert found.input_schema["required"] == ["passengers"]
    assert found.input_schema["properties"]["top"]["default"] == 3
    passenger = found.definitions["Passenger"]
    assert passenger["description"] == "One person on board."
    assert passenger["required"] == ["name"]
    assert passenger["properties"]["name"]["description"] == "whole name"
    assert passenger["properties"]["name"]["minLength"] == 1
    assert {"type": "number", "minimum": 0, "maximum": 150} in passenger["properties"]["age"]["anyOf"]
    assert passenger["properties"]["port"]["default"] == "S"
    assert found.definitions["Port"]["enum"] == ["S", "C"]
    assert found.definitions["Cabin"]["description"] == "Where a passenger sleeps."
    assert set(found.definitions["Prediction"]["properties"]) == {"survived", "probability"}


def test_one_type_at_both_ends() -> None:
    """A model with defaults that is taken and returned has two descriptions: only what is taken may be left out."""

    def run(data: Passenger) -> Passenger:
        return data

    found = typed(run)
    given = found.definitions[found.input_schema["properties"]["data"]["$ref"].rpartition("/")[2]]
    returned = found.definitions[found.output_schema["$ref"].rpartition("/")[2]]
    assert given["required"] == ["name"]
    assert returned["required"] == ["name", "age", "port"] or given is returned


def test_types_with_the_names_of_the_document() -> None:
    """A user's ServiceInput, ServiceOutput and ErrorResponse are renamed, and referred to by their new names."""

    class ServiceOutput(BaseModel):
        a: int

    class ServiceInput(BaseModel):
        b: int

    def run(data):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
        return data

    run.__annotations__.update({"data": list[ServiceInput], "return": ServiceOutput})
    document = Swagger(Settings(), run, typed(run)).document("3.1")
    schemas = document["components"]["schemas"]
    reference = schemas["ServiceOutput"]["$ref"].rpartition("/")[2]
    assert reference != "ServiceOutput"
    assert list(schemas[reference]["properties"]) == ["a"]
    inner = schemas["ServiceInput"]["properties"]["data"]["items"]["$ref"].rpartition("/")[2]
    assert list(schemas[inner]["properties"]) == ["b"]


def test_recursive_models() -> None:
    """A recursive model is validated, described by reference, and has an example that ends."""

    def run(tree: Node) -> Node:
        return tree

    found = typed(run)
    assert found.example is not None
    assert found.example["tree"]["value"] == 0
    assert any("Node" in name for name in found.definitions)
    assert errors(run, {"tree": {"value": 1, "children": [{"value": "x"}]}})[0][0] == "tree.children[0].value"
    assert answer_of(run, {"tree": {"value": 1}}) == {"value": 1, "children": []}


def test_the_example_fits() -> None:
    """The description has an example that its own run() takes."""
    found = typed(described_run)
    assert found.example is not None
    assert found.from_values(found.example)["passengers"][0].name


class Wrong(BaseModel):
    """An example that does not fit."""

    number: int
    model_config = ConfigDict(json_schema_extra={"examples": [{"number": "many"}]})


class WrongInside(BaseModel):
    """An example of a field that does not fit."""

    number: Annotated[int, Field(examples=["many"])]


@pytest.mark.parametrize(
    ("annotation", "expected"),
    [
        (Wrong, "The example of data does not fit its own schema: .*data.number"),
        (Annotated[int, Field(examples=["x"])], "The example of data does not fit its own schema: .*data"),
        (WrongInside, "No example fits .* at data.number"),
        (list[Wrong], r"No example fits .* at data\[0\].number"),
    ],
    ids=["model", "parameter", "field", "in a list"],
)
def test_examples_that_do_not_fit_are_warned_of(annotation: Any, expected: str) -> None:
    """An example of the user's that its own schema refuses is warned of once, at the start, by name."""

    def run(data):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
        return data

    run.__annotations__["data"] = annotation
    with logged("azmlinfsrv.user_script", logging.WARNING) as lines:
        assert typed(run).example is None
    assert len(lines) == 1
    assert re.search(expected, lines[0])


def test_good_examples_are_silent() -> None:
    """Examples that fit are used, and nothing is warned of."""

    def run(
        data: Annotated[int, Field(examples=[5])], other: Annotated[str, Field(pattern="^[0-9]{3}$", examples=["123"])]
    ) -> None: ...

    with logged("azmlinfsrv.user_script", logging.WARNING) as lines:
        assert typed(run).example == {"data": 5, "other": "123"}
    assert lines == []


def test_no_example_is_made_where_none_fits() -> None:
    """Where a made example would be refused there is none, and no warning: the user's own would help."""

    def run(data: Annotated[str, Field(pattern="^[0-9]{3}$")]) -> None: ...

    with logged("azmlinfsrv.user_script", logging.WARNING) as lines:
        assert typed(run).example is None
    assert lines == []


def test_validators_that_need_init() -> None:
    """A validator that raises before `init()` has been called does not stop the start."""
    state: dict[str, int] = {}

    class Known(BaseModel):
        word: str

        @field_validator("word")
        @classmethod
        def check(cls, word: str) -> str:
            return word if state["limit"] > len(word) else word[:1]

    def run(data):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
        return data

    run.__annotations__["data"] = Known
    assert typed(run).example is None


def test_wrapped_functions() -> None:
    """A decorator that keeps the signature keeps the types."""

    def logged_run(function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            return function(*args, **kwargs)

        return call

    assert arguments(logged_run(one_number), {"data": "5"}) == {"data": 5}
