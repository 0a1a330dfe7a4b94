"""From a request to the arguments of `run()`."""

from __future__ import annotations

import inspect
import json
from typing import Any, cast
from urllib.parse import quote, urlencode

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from werkzeug.datastructures import Headers
from werkzeug.test import EnvironBuilder
from werkzeug.wrappers import Request as WerkzeugRequest

from azmlinfsrv.errors import BadInputError, RequestError, UnsupportedInputError, UnsupportedMethodError
from azmlinfsrv.inputs import input_parser, is_json, json_text, query_values, schema_arguments, title_headers
from azmlinfsrv.messages import Request
from azmlinfsrv.script import Script, Style

properties = settings(deadline=None, max_examples=100)


def a_request(method: str = "POST", query: bytes = b"", body: bytes = b"", content_type: str | None = None) -> Request:
    """Return a request for the script."""
    fields = {} if content_type is None else {b"content-type": content_type.encode("latin-1")}
    target = b"/score?" + query if query else b"/score"
    return Request(method, target, "/score", query, fields, body, "1.1", ("192.0.2.1", 1234), 0.0)


def json_request(value: Any, content_type: str = "application/json") -> Request:
    """Return a POST of a JSON text."""
    body = value if isinstance(value, bytes) else json.dumps(value).encode()
    return a_request(body=body, content_type=content_type)


class FakeScript(Script):
    """What the parser wants to know of a script."""

    def __init__(self, style: Style, *names: str, takes_headers: bool = False) -> None:
        self.style = style
        self.typed = None
        self.run = lambda **arguments: arguments
        self.parameters = [inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD) for name in names]
        self.takes_headers = takes_headers


def parsed(script: FakeScript, request: Request) -> dict[str, Any]:
    """Return the arguments that a script's run() gets."""
    return input_parser(cast("Script", script), lambda _: "the Flask request")(request)


def parameters_of(function: Any) -> list[inspect.Parameter]:
    """Return the parameters of a function."""
    return list(inspect.signature(function).parameters.values())


def error_of(request: Request, function: Any = lambda data: data) -> RequestError:
    """Return the error of a request to a script with a schema."""
    with pytest.raises(RequestError) as caught:
        schema_arguments(request, parameters_of(function))
    return caught.value


# -- Undecorated -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["raw_data", "data", "request", "input_data", "x"])
@pytest.mark.parametrize("content_type", [None, "application/json", "text/plain", "application/x-www-form-urlencoded"])
def test_the_body_is_the_input(name: str, content_type: str | None) -> None:
    """An undecorated run() gets the body as text in its first parameter, by any name, of any content type or none."""
    request = a_request(body='{"é": 1} \n'.encode(), content_type=content_type)
    assert parsed(FakeScript(Style.JSON_TEXT, name), request) == {name: '{"é": 1} \n'}


def test_an_empty_body_is_an_empty_text() -> None:
    """Without a body the script gets an empty text."""
    assert json_text(a_request()) == ""


def test_a_body_that_is_no_text() -> None:
    """Bytes that are not UTF-8 get 400 and the released server's message."""
    with pytest.raises(BadInputError) as caught:
        json_text(a_request(body=b"caf\xe9"))
    expected = (
        "Input cannot be decoded as UTF-8: 'utf-8' codec can't decode byte 0xe9 in position 3: unexpected end of data"
    )
    assert (caught.value.status, caught.value.message) == (400, expected)


def test_the_query_is_the_input_of_a_get() -> None:
    """An undecorated run() gets the query of a GET as a JSON object, and not its body."""
    request = a_request("GET", b"a=1&b=[1,2]&c=a&d=null", b"ignored")
    assert json_text(request) == '{"a": 1, "b": [1, 2], "c": "a", "d": null}'
    assert json_text(a_request("GET")) == "{}"


@pytest.mark.parametrize("method", ["OPTIONS", "HEAD", "PUT", "DELETE", "PATCH"])
def test_other_methods(method: str) -> None:
    """Every other method gets 405, with and without a schema."""
    with pytest.raises(UnsupportedMethodError):
        json_text(a_request(method))
    assert isinstance(error_of(a_request(method, content_type="application/json")), UnsupportedMethodError)


# -- Raw -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS", "HEAD"])
def test_a_raw_script_gets_the_request(method: str) -> None:
    """A raw run() gets the Flask request, of every method."""
    assert parsed(FakeScript(Style.RAW, "req"), a_request(method)) == {"req": "the Flask request"}


# -- Schema ----------------------------------------------------------------------------------------------------------


def test_values_go_to_parameters_of_their_names() -> None:
    """The values of the JSON object go to the parameters; those that nobody asked for are dropped."""
    request = json_request({"b": [1], "a": None, "c": 3})
    assert schema_arguments(request, parameters_of(lambda a, b: None)) == {"a": None, "b": [1]}


def test_defaults_fill_in() -> None:
    """A parameter that is missing has its default, None included."""
    request = json_request({"a": 1})
    arguments = schema_arguments(request, parameters_of(lambda a, b=5, c=None: None))
    assert arguments == {"a": 1, "b": 5, "c": None}


def test_a_missing_parameter() -> None:
    """A parameter without a default that is missing gets 400 and is named."""
    error = error_of(json_request({"a": 1}), lambda a, b: None)
    assert (error.status, error.message) == (400, "A value is not provided for the 'b' parameter.")


def test_values_of_a_query() -> None:
    """A GET gives the values by its query, and needs no content type."""
    request = a_request("GET", b"a=[1,2]&b=x")
    assert schema_arguments(request, parameters_of(lambda a, b: None)) == {"a": [1, 2], "b": "x"}
    error = error_of(a_request("GET", b"b=1"), lambda a: None)
    assert error.message == "A value is not provided for the 'a' parameter."


@pytest.mark.parametrize(
    "content_type",
    [
        "application/json",
        "application/json; charset=utf-8",
        "Application/JSON",
        " application/json ;x=y",
        "application/vnd.api+json",
        "application/problem+json; charset=utf-8",
    ],
)
def test_content_types_that_are_json(content_type: str) -> None:
    """JSON by content type is taken, parameters and suffixes included, as Flask's `is_json` has it."""
    assert schema_arguments(json_request({"data": 1}, content_type=content_type), parameters_of(lambda data: 0))


@pytest.mark.parametrize(
    "content_type",
    ["", "text/plain", "text/json", "application/x-www-form-urlencoded", "application/jsonp", "json", "x/y+json"],
)
def test_content_types_that_are_not(content_type: str) -> None:
    """Anything else gets 415 and the released server's message, before the body is looked at."""
    error = error_of(json_request(b"no JSON", content_type=content_type))
    assert isinstance(error, UnsupportedInputError)
    assert error.message == "Expects Content-Type to be application/json"


def test_no_content_type() -> None:
    """A POST without a content type gets 415 from a script with a schema."""
    assert error_of(a_request(body=b'{"data": 1}')).status == 415


@properties
@given(
    st.sampled_from(["application/json", "application/", "text/", "+json", "json"]).flatmap(
        lambda start: st.text("+jsonapplict/; =x", max_size=6).map(lambda rest: start + rest)
    )
)
def test_the_content_type_is_judged_as_werkzeug_does(content_type: str) -> None:
    """Whether a content type is JSON, Flask and this server agree on."""
    theirs = WerkzeugRequest(EnvironBuilder(headers=Headers({"Content-Type": content_type})).get_environ()).is_json
    assert is_json(a_request(content_type=content_type)) is theirs


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "POST body is empty. Expecting a JSON dictionary."),
        (b"[1]", "POST body should be a JSON dictionary."),
        (b"null", "POST body should be a JSON dictionary."),
        (b'"text"', "POST body should be a JSON dictionary."),
        (
            b"{",
            "POST body could not be decoded as JSON: Expecting property name enclosed in double quotes: "
            "line 1 column 2 (char 1)",
        ),
        (b" ", "POST body could not be decoded as JSON: Expecting value: line 1 column 2 (char 1)"),
        (
            b"{'a': 1}",
            "POST body could not be decoded as JSON: Expecting property name enclosed in double quotes: "
            "line 1 column 2 (char 1)",
        ),
        (b'{"a": 1} x', "POST body could not be decoded as JSON: Extra data: line 1 column 10 (char 9)"),
        (b"[" * 100_000, "POST body could not be decoded as JSON: it is nested too deeply"),
    ],
    ids=["empty", "list", "null", "text", "open", "blank", "quotes", "more", "deep"],
)
def test_bodies_that_are_no_object(body: bytes, message: str) -> None:
    """What is no JSON object gets 400 and the released server's message."""
    error = error_of(json_request(body))
    assert (error.status, error.message) == (400, message)


def test_bytes_that_are_no_text() -> None:
    """A JSON body that is not UTF-8 gets 400."""
    error = error_of(json_request(b'{"data": "\xff"}'))
    assert error.status == 400
    assert error.message.startswith("Input cannot be decoded as UTF-8: ")


def test_an_integer_that_is_too_long() -> None:
    """A number with more digits than Python converts gets 400, and is not the end of the request."""
    error = error_of(json_request(b'{"data": ' + b"9" * 10_000 + b"}"))
    assert error.status == 400


def test_json_means_what_python_means() -> None:
    """NaN, infinities and integers beyond 64 bits arrive as they are."""
    request = json_request(b'{"data": [NaN, -Infinity, 18446744073709551617, 9007199254740993]}')
    values = schema_arguments(request, parameters_of(lambda data: 0))["data"]
    assert values[0] != values[0]
    assert values[1:] == [float("-inf"), 18446744073709551617, 9007199254740993]


# -- Queries ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("query", "values"),
    [
        (b"", {}),
        (b"a=1&b=[1,2]&c=a&d=null", {"a": 1, "b": [1, 2], "c": "a", "d": None}),
        (b"foo=bar1&foo=bar2&x=y", {"foo": ["bar1", "bar2"], "x": "y"}),
        (b"a=1&a=2&a=3", {"a": [1, 2, 3]}),
        (b"a=[1]&a=2", {"a": [[1], 2]}),
        (b"a=1&b=2&a=3", {"a": [1, 3], "b": 2}),
        (b"A=1&a=2", {"A": 1, "a": 2}),
        (b"a=", {"a": ""}),
        (b"a", {"a": ""}),
        (b"=1", {"": 1}),
        (b"&&a=1&", {"a": 1}),
        (b"a=1;b=2", {"a": "1;b=2"}),
        (b"a=b=c", {"a": "b=c"}),
        (b"a=1.5e3&b=true&c=False", {"a": 1500.0, "b": True, "c": "False"}),
        (b"a=%22x+y%22&b=x+y&c=%2B", {"a": "x y", "b": "x y", "c": "+"}),
        (b"a=%7B%22k%22%3A%5B1%5D%7D", {"a": {"k": [1]}}),
        (b"caf%C3%A9=%C3%BC", {"café": "ü"}),
        (b"a=%FF&%FE=1", {"a": "%FF", "%FE": 1}),
        (b"a=%zz", {"a": "%zz"}),
        (b"a=Infinity", {"a": float("inf")}),
        (b"a=" + b"[" * 3000, {"a": "[" * 3000}),
        (b"a=" + b"9" * 5000, {"a": "9" * 5000}),
    ],
)
def test_queries(query: bytes, values: dict[str, Any]) -> None:
    """A value is JSON where it is JSON, else text; a name that comes more than once is a list of its values."""
    assert query_values(query) == values
    assert list(query_values(query)) == list(values)


@properties
@given(st.lists(st.tuples(st.text(max_size=5), st.text(max_size=8)), max_size=5))
@example([("a", "\ud800")])
@example([("a", "1"), ("b", "2"), ("a", "x")])
def test_queries_are_read_as_werkzeug_reads_them(pairs: list[tuple[str, str]]) -> None:
    """Names and texts of any query are those that the released server's framework finds."""
    query = urlencode(pairs, errors="surrogatepass")
    arguments = WerkzeugRequest(EnvironBuilder(query_string=query).get_environ()).args
    expected: dict[str, Any] = {}
    for name in arguments:
        values = [_as_json(text) for text in arguments.getlist(name)]
        expected[name] = values if len(values) > 1 else values[0]
    mine = query_values(query.encode())
    assert repr(mine) == repr(expected)


def _as_json(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


@properties
@given(st.binary(max_size=20))
def test_any_bytes_are_a_query(raw: bytes) -> None:
    """No query is an error, whatever bytes it holds."""
    assert isinstance(query_values(raw), dict)
    assert isinstance(query_values(b"a=" + quote(raw).encode()), dict)


# -- Headers ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("style", list(Style))
def test_headers_where_they_are_wanted(style: Style) -> None:
    """A script of any style that has a request_headers parameter gets the headers beside its input."""
    request = json_request({"data": 1})
    request.headers[b"x-custom"] = b"v"
    arguments = parsed(FakeScript(style, "data", takes_headers=True), request)
    assert set(arguments) == {"data", "request_headers"}
    assert arguments["request_headers"] == {"Content-Type": "application/json", "X-Custom": "v"}
    assert "request_headers" not in parsed(FakeScript(style, "data"), request)


def test_headers_have_names_in_title_case() -> None:
    """Names are as a WSGI server gives them, values as latin-1; names with an underscore are left out."""
    request = a_request()
    request.headers = {b"x-ms-request-id": b"1", b"traceid": b"\xe9", b"a_b": b"x", b"x-b3-traceid": b"y"}
    assert title_headers(request) == {"X-Ms-Request-Id": "1", "Traceid": "é", "X-B3-Traceid": "y"}
