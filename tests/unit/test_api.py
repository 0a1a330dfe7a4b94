"""What scoring scripts import: `rawhttp`, `AMLRequest`, `AMLResponse`."""

from __future__ import annotations

import http
import io
import json
from collections.abc import Iterator
from typing import Any

import flask
import numpy as np
import pytest
from werkzeug.exceptions import BadRequest, UnsupportedMediaType
from werkzeug.test import EnvironBuilder

import azmlinfsrv
from azmlinfsrv import api
from azmlinfsrv.api import AMLRequest, AMLResponse, FlaskOneRequest, rawhttp


def text(response: flask.Response) -> str:
    """Return the body as text."""
    return response.get_data(as_text=True)


def a_request(kind: type[AMLRequest] = AMLRequest, **parts: Any) -> AMLRequest:
    """Return a request of a class, made as for a test of werkzeug's."""
    return kind(EnvironBuilder("/score", **parts).get_environ())


# -- rawhttp ---------------------------------------------------------------------------------------------------------


def test_the_decorator_returns_the_function() -> None:
    """@rawhttp changes nothing about the function that is decorated."""

    def run(request: Any) -> Any:
        return request

    assert rawhttp(run) is run
    assert run(1) == 1


@pytest.mark.parametrize("name", ["rawhttp", "AMLRequest", "AMLResponse"])
def test_the_package_offers_the_same(name: str) -> None:
    """The package has the three names, and they are those of this module."""
    assert getattr(azmlinfsrv, name) is getattr(api, name)
    assert name in azmlinfsrv.__all__


def test_the_package_offers_nothing_else() -> None:
    """A name that the package does not have is an AttributeError that says so."""
    with pytest.raises(AttributeError, match="module 'azmlinfsrv' has no attribute 'AMLAnswer'"):
        _ = azmlinfsrv.AMLAnswer  # type: ignore[attr-defined]


# -- AMLResponse -----------------------------------------------------------------------------------------------------

HEADERS = {"X-A": "1"}


@pytest.mark.parametrize(
    ("make", "status", "body", "content_type"),
    [
        (lambda: AMLResponse("m", 200), 200, "m", "text/html; charset=utf-8"),
        (lambda: AMLResponse("", 200), 200, "", "text/html; charset=utf-8"),
        (lambda: AMLResponse(b"m", 500), 500, "m", "text/html; charset=utf-8"),
        (lambda: AMLResponse({"a": 1}, 200, json_str=True), 200, '{"a":1}', "application/json"),
        (lambda: AMLResponse({"a": 1}, 200, HEADERS, json_str=True), 200, '{"a":1}', "application/json"),
        (lambda: AMLResponse({"a": 1}, 200, HEADERS, True), 200, '{"a":1}', "application/json"),
        (lambda: AMLResponse({"a": 1}, json_str=True, status_code=201), 201, '{"a":1}', "application/json"),
        (lambda: AMLResponse(message="m", status_code=400), 400, "m", "text/html; charset=utf-8"),
        (lambda: AMLResponse("m", status_code=404), 404, "m", "text/html; charset=utf-8"),
        (lambda: AMLResponse("m", 200, response_headers=HEADERS), 200, "m", "text/html; charset=utf-8"),
        (lambda: AMLResponse({"a": 1, "b": 2}, 200), 200, "ab", "text/html; charset=utf-8"),
        (lambda: AMLResponse(["a", "b"], 200), 200, "ab", "text/html; charset=utf-8"),
        (lambda: AMLResponse((part for part in ("a", "b")), 200), 200, "ab", "text/html; charset=utf-8"),
        (lambda: AMLResponse("m", http.HTTPStatus.CREATED), 201, "m", "text/html; charset=utf-8"),
        (lambda: AMLResponse("text", 200, json_str=True), 200, '"text"', "application/json"),
        (lambda: AMLResponse([1, None], 200, {}, True), 200, "[1, null]", "application/json"),
        (lambda: AMLResponse(np.array([1.5]), 200, json_str=True), 200, "[1.5]", "application/json"),
        (lambda: AMLResponse(None, 200), 200, "{}", "application/json"),
        (lambda: AMLResponse(None, 418, HEADERS), 418, "{}", "application/json"),
    ],
)
def test_every_way_to_make_one(make: Any, status: int, body: str, content_type: str) -> None:
    """Each form that published scripts use gives status, body and content type as it always has."""
    response = make()
    assert response.status_code == status
    assert text(response) == body
    assert response.headers["Content-Type"] == content_type
    assert response.headers["x-ms-run-function-failed"] == "False"


def test_it_is_a_flask_response() -> None:
    """What can be done with a Flask response can be done with this one, afterwards too."""
    response = AMLResponse("m", 200)
    assert isinstance(response, flask.Response)
    response.headers["X-Own"] = "1"
    response.mimetype = "image/png"
    response.status_code = 202
    assert (response.headers["X-Own"], response.headers["Content-Type"]) == ("1", "image/png")
    assert response.status_code == 202


def test_a_generator_is_streamed() -> None:
    """A generator is not consumed before it is sent."""
    made: list[int] = []

    def parts() -> Iterator[str]:
        made.append(1)
        yield "a"

    assert AMLResponse(parts(), 200).is_streamed
    assert made == []


@pytest.mark.parametrize("failed", [True, False])
def test_whether_run_failed(failed: bool) -> None:
    """The last argument is the value of a header."""
    assert AMLResponse("m", 200, {}, False, failed).headers["x-ms-run-function-failed"] == str(failed)
    assert AMLResponse("m", 200, run_function_failed=failed).headers["x-ms-run-function-failed"] == str(failed)


def test_what_json_cannot_hold() -> None:
    """With json_str, a message that JSON cannot hold raises in the script."""
    with pytest.raises(TypeError):
        AMLResponse({1, 2}, 200, json_str=True)


@pytest.mark.parametrize(
    ("name", "value", "values"),
    [
        ("X-Own", "a", ["a"]),
        ("X-Own", "a, b,c", ["a", "b", "c"]),
        ("X-Own", "", [""]),
        ("Cache-Control", "no-cache, no-store", ["no-cache", "no-store"]),
        ("Access-Control-Allow-Methods", "GET, POST", ["GET", "POST"]),
        ("Vary", "Origin,Accept", ["Origin", "Accept"]),
        ("Set-Cookie", "a=1; Expires=Wed, 21 Oct 2015 07:28:00 GMT", ["a=1; Expires=Wed, 21 Oct 2015 07:28:00 GMT"]),
        ("set-cookie", "a=1, b", ["a=1, b"]),
        ("Expires", "Wed, 21 Oct 2015 07:28:00 GMT", ["Wed, 21 Oct 2015 07:28:00 GMT"]),
        ("Date", "Wed, 21 Oct 2015 07:28:00 GMT", ["Wed, 21 Oct 2015 07:28:00 GMT"]),
        ("LAST-MODIFIED", "Wed, 21 Oct 2015 07:28:00 GMT", ["Wed, 21 Oct 2015 07:28:00 GMT"]),
        ("Retry-After", "Wed, 21 Oct 2015 07:28:00 GMT", ["Wed, 21 Oct 2015 07:28:00 GMT"]),
        ("WWW-Authenticate", 'Digest realm="a", qop="b"', ['Digest realm="a", qop="b"']),
        ("Content-Disposition", 'attachment; filename="a,b.csv"', ['attachment; filename="a,b.csv"']),
        ("Location", "https://example.org/?a=1,2", ["https://example.org/?a=1,2"]),
    ],
)
@pytest.mark.parametrize("json_str", [True, False])
def test_values_with_commas(name: str, value: Any, values: list[str], json_str: bool) -> None:
    """A value with commas is sent as several fields, but for fields that hold commas by definition."""
    response = AMLResponse("m", 200, {name: value}, json_str)
    assert response.headers.getlist(name) == values


@pytest.mark.parametrize("name", ["Content-Type", "content-type", "CONTENT-TYPE"])
@pytest.mark.parametrize("json_str", [True, False])
def test_a_content_type_replaces(name: str, json_str: bool) -> None:
    """The script's own content type replaces the usual one, in every spelling, and never doubles it."""
    response = AMLResponse(b"m" if not json_str else "m", 200, {name: "text/csv; a=b,c"}, json_str)
    assert response.headers.getlist("Content-Type") == ["text/csv; a=b,c"]


def test_headers_are_added_in_order() -> None:
    """Fields stand in the order in which the script gives them."""
    response = AMLResponse("m", 200, {"B": "1, 2", "A": "3"})
    own = [(name, value) for name, value in response.headers if name in "AB"]
    assert own == [("B", "1"), ("B", "2"), ("A", "3")]


def test_the_mapping_of_headers_is_not_changed() -> None:
    """The script's own dictionary may be used for every answer."""
    headers = {"Content-Type": "text/csv", "X": "1,2"}
    AMLResponse("m", 200, headers)
    assert headers == {"Content-Type": "text/csv", "X": "1,2"}


# -- AMLRequest ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [AMLRequest, FlaskOneRequest])
class TestRequest:
    """What published raw scripts do with the request, with and without AML_FLASK_ONE_COMPATIBILITY."""

    def test_it_is_a_flask_request(self, kind: type[AMLRequest]) -> None:
        """The class can be asked for, and has Flask's text and dictionary."""
        request = a_request(kind)
        assert isinstance(request, (AMLRequest, flask.Request))
        assert "/score" in str(request)
        assert request.__dict__

    def test_data(self, kind: type[AMLRequest]) -> None:
        """The body can be had in each way that scripts get it, and again."""
        request = a_request(kind, method="POST", data="é".encode())
        assert request.get_data(as_text=True) == "é"
        assert request.data == request.get_data() == request.get_data(False) == "é".encode()
        assert a_request(kind, method="POST", data=b"x").get_data(False) == b"x"
        assert a_request(kind, method="POST", data=b"x").get_data(cache=False, as_text=True) == "x"

    def test_headers(self, kind: type[AMLRequest]) -> None:
        """Headers are pairs with names in Title-Case, found in any case."""
        request = a_request(kind, headers={"x-own-header": "1", "authorization": "Bearer t"})
        pairs = dict(iter(request.headers))
        assert (pairs["X-Own-Header"], pairs["Authorization"]) == ("1", "Bearer t")
        assert request.headers["X-OWN-HEADER"] == "1"
        assert dict(request.headers)["X-Own-Header"] == "1"

    def test_query(self, kind: type[AMLRequest]) -> None:
        """The query can be had by name, as a dictionary, and as part of the path, on POST too."""
        request = a_request(kind, method="POST", query_string="a=1&b=x")
        assert (list(request.args.keys()), request.args["a"], request.args.get("c")) == (["a", "b"], "1", None)
        assert dict(request.args) == {"a": "1", "b": "x"}
        assert request.full_path == "/score?a=1&b=x"
        assert a_request(kind).full_path == "/score?"

    def test_files(self, kind: type[AMLRequest]) -> None:
        """Uploaded files have names, can be listed, and can be read and rewound."""
        upload = {"image": (io.BytesIO(b"png"), "i.png"), "file[]": [(io.BytesIO(b"1"), "1"), (io.BytesIO(b"2"), "2")]}
        with a_request(kind, method="POST", data=upload) as request:
            assert "image" in request.files
            image = request.files["image"]
            assert (image.filename, image.read()) == ("i.png", b"png")
            assert (image.stream.seek(0), image.stream.read()) == (0, b"png")
            assert [each.read() for each in request.files.getlist("file[]")] == [b"1", b"2"]
            assert sorted(name for name, _ in request.files.items()) == ["file[]", "image"]

    @pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS", "HEAD"])
    def test_method(self, kind: type[AMLRequest], method: str) -> None:
        """The method is that of the request."""
        assert a_request(kind, method=method).method == method

    def test_json(self, kind: type[AMLRequest]) -> None:
        """A JSON body is parsed where its content type says so, or where the script insists."""
        assert a_request(kind, method="POST", json={"a": [1]}).json == {"a": [1]}
        plain = a_request(kind, method="POST", data=b'{"a": 1}', content_type="text/plain")
        assert plain.get_json(force=True) == {"a": 1}
        assert a_request(kind, method="POST", data=b"x", content_type="text/plain").get_json(silent=True) is None

    def test_bad_json(self, kind: type[AMLRequest]) -> None:
        """A body that is not JSON though its content type says so is a 400, which raises in the script."""
        request = a_request(kind, method="POST", data=b"{", content_type="application/json")
        with pytest.raises(BadRequest):
            _ = request.json

    def test_without_an_environment(self, kind: type[AMLRequest]) -> None:
        """The class can be made without arguments, as the released one is declared."""
        assert kind().method == "GET"


@pytest.mark.parametrize("content_type", ["text/plain", "application/octet-stream", None])
def test_json_of_another_content_type(content_type: str | None) -> None:
    """`request.json` is None with Flask-1 compatibility, and a 415 that raises in the script without."""
    parts: dict[str, Any] = {"method": "POST", "data": b'{"a": 1}', "content_type": content_type}
    compatible = a_request(FlaskOneRequest, **parts)
    assert compatible.json is None
    assert compatible.get_json() is None
    assert compatible.get_json(force=True) == {"a": 1}
    with pytest.raises(UnsupportedMediaType):
        _ = a_request(AMLRequest, **parts).json


def test_has_key() -> None:
    """`request.headers.has_key()` exists with Flask-1 compatibility only."""
    headers: Any = a_request(FlaskOneRequest, headers={"X-Own": "1"}).headers
    assert headers.has_key("X-Own") and headers.has_key("x-own")
    assert not headers.has_key("X-Other")
    assert not hasattr(a_request(AMLRequest).headers, "has_key")


def test_json_text_is_what_python_reads() -> None:
    """A message that is encoded has the meaning of json.dumps: NaN stays NaN, keys become text."""
    body = text(AMLResponse({1: float("inf"), None: [None]}, 200, json_str=True))
    assert json.loads(body) == {"1": float("inf"), "null": [None]}
