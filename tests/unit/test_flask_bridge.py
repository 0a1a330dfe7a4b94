"""Requests as Flask has them, for scripts that use Flask."""

from __future__ import annotations

import asyncio
import io
import json
from typing import Any
from wsgiref.validate import check_environ  # type: ignore[attr-defined]  # typeshed leaves it out

import flask
import pytest
from werkzeug.exceptions import BadRequest, UnsupportedMediaType

from azmlinfsrv.api import AMLRequest
from azmlinfsrv.flask_bridge import FlaskBridge, wsgi_environ
from azmlinfsrv.messages import Request
from tests.unit.http_fakes import CLIENT, SERVER, request

UPLOAD = (
    b'--b\r\nContent-Disposition: form-data; name="model"; filename="m\xc3\xb6del.bin"\r\n'
    b"Content-Type: application/octet-stream\r\n\r\n\x00\xff\r\n"
    b'--b\r\nContent-Disposition: form-data; name="kind"\r\n\r\nimage\r\n--b--\r\n'
)


@pytest.fixture
def bridge() -> FlaskBridge:
    """A bridge without compatibility with Flask 1."""
    return FlaskBridge(flask_one=False)


def flask_request(bridge: FlaskBridge, request: Request) -> Any:
    """Return the Flask request; the request context is left again."""
    with bridge.context(request):
        return bridge.request(request)


# -- the WSGI environment --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "asked",
    [
        request("GET", "/score"),
        request("POST", "/score?a=1", b"hello", content_type="text/plain", content_length="5", x_own="1"),
        request("OPTIONS", "/score", origin="http://a.test"),
        request("HEAD", "/score"),
    ],
    ids=lambda asked: asked.method,
)
def test_the_environment_is_valid(asked: Request) -> None:
    """The environment passes the checks that the standard library makes of WSGI servers (PEP 3333)."""
    check_environ(wsgi_environ(asked))


def test_the_environment() -> None:
    """The variables are those that a WSGI server sets, and RAW_URI is gunicorn's."""
    asked = request("POST", "/score?a=%20", b"hello", content_type="text/plain", content_length="5", x_own_header="1")
    environ = wsgi_environ(asked)
    assert {name: environ[name] for name in environ if name.isupper()} == {
        "REQUEST_METHOD": "POST",
        "SCRIPT_NAME": "",
        "PATH_INFO": "/score",
        "QUERY_STRING": "a=%20",
        "RAW_URI": "/score?a=%20",
        "SERVER_NAME": SERVER[0],
        "SERVER_PORT": "5001",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "SERVER_SOFTWARE": "azmlinfsrv",
        "REMOTE_ADDR": CLIENT[0],
        "REMOTE_PORT": str(CLIENT[1]),
        "CONTENT_TYPE": "text/plain",
        "CONTENT_LENGTH": "5",
        "HTTP_X_OWN_HEADER": "1",
    }
    assert environ["wsgi.url_scheme"] == "http"
    assert environ["wsgi.input"].read() == b"hello"


@pytest.mark.parametrize(
    ("target", "path_info"),
    [
        ("/score", "/score"),
        ("/%73core", "/score"),
        ("/caf%C3%A9", "/caf\xc3\xa9"),
        ("/%FF", "/\xff"),
        ("/a%2Fb?c", "/a/b"),
    ],
)
def test_the_path_is_bytes_in_latin_1(target: str, path_info: str) -> None:
    """PATH_INFO has the decoded bytes of the path, one character each (PEP 3333)."""
    assert wsgi_environ(request("GET", target))["PATH_INFO"] == path_info


def test_a_target_in_absolute_form() -> None:
    """The path of a target with a host is its path."""
    asked = Request("GET", b"http://h/score?a", "/score", b"a", {}, b"", "1.1", CLIENT, 0.0)
    assert wsgi_environ(asked)["PATH_INFO"] == "/score"


def test_names_with_underscores_are_dropped() -> None:
    """A header whose name has an underscore could pass for another, so scripts do not see it, as with gunicorn."""
    asked = request("GET", "/score", x_real="1")
    asked.headers[b"x_real"] = b"forged"
    asked.headers[b"content_length"] = b"9"
    environ = wsgi_environ(asked)
    assert environ["HTTP_X_REAL"] == "1"
    assert "CONTENT_LENGTH" not in environ and "HTTP_CONTENT_LENGTH" not in environ


def test_a_chunked_body_has_a_length() -> None:
    """A body that came in chunks can be read whole, though nothing says how long it is."""
    environ = wsgi_environ(request("POST", "/score", b"hello", transfer_encoding="chunked"))
    assert "CONTENT_LENGTH" not in environ
    assert flask.Request(environ).get_data() == b"hello"


# -- contexts --------------------------------------------------------------------------------------------------


def test_flask_works_inside_the_context(bridge: FlaskBridge) -> None:
    """`flask.request`, `flask.g` and `flask.current_app` are those of the request, and `url_for`-free helpers work."""
    asked = request("POST", "/score?a=1", b"hello")
    with bridge.context(asked):
        assert flask.request.args["a"] == "1"
        assert bridge.request(asked) is flask.request._get_current_object()  # type: ignore[attr-defined]
        assert isinstance(bridge.request(asked), AMLRequest)
        assert isinstance(bridge.request(asked), flask.Request)
        flask.g.value = 1
        assert flask.current_app.name == "azmlinfsrv"
        assert flask.jsonify(a=1).get_json() == {"a": 1}
        assert flask.make_response("x", 201).status_code == 201


def test_contexts_are_of_one_request(bridge: FlaskBridge) -> None:
    """Nothing is left of a request after it: neither `flask.request` nor what the script kept in `flask.g`."""
    with bridge.context(request("GET", "/score")):
        flask.g.value = 1
    assert not flask.has_request_context() and not flask.has_app_context()
    with bridge.context(request("GET", "/score")):
        assert "value" not in flask.g


def test_the_context_ends_with_an_exception(bridge: FlaskBridge) -> None:
    """A script that raises leaves no context behind."""
    with pytest.raises(ValueError, match="of the script"), bridge.context(request("GET", "/score")):
        raise ValueError("of the script")
    assert not flask.has_request_context()


# -- what scripts use of a request -----------------------------------------------------------------------------


def test_body_and_query(bridge: FlaskBridge) -> None:
    """The body is there as bytes, text and JSON, and the query as a mapping."""
    body = json.dumps({"a": "\xe9"}).encode()
    asked = flask_request(bridge, request("POST", "/score?b=1&b=2", body, content_type="application/json"))
    assert (asked.get_data(), asked.data, asked.get_data(as_text=True)) == (body, body, body.decode())
    assert asked.json == asked.get_json() == {"a": "\xe9"}
    assert asked.args.getlist("b") == ["1", "2"]


@pytest.mark.parametrize(("target", "full_path"), [("/score", "/score?"), ("/score?a=1&b", "/score?a=1&b")])
def test_paths_and_addresses(bridge: FlaskBridge, target: str, full_path: str) -> None:
    """Path, URL and addresses are those of the request."""
    asked = flask_request(bridge, request("GET", target, host="models.test:8080"))
    assert (asked.path, asked.full_path) == ("/score", full_path)
    assert asked.url == f"http://models.test:8080{target}"
    assert (asked.host, asked.remote_addr, asked.scheme) == ("models.test:8080", CLIENT[0], "http")


def test_headers(bridge: FlaskBridge) -> None:
    """Headers are found in any case, and iterating gives pairs of Title-Case names and values."""
    asked = flask_request(
        bridge, request("POST", "/score", b"x", content_type="text/csv", content_length="1", x_own="a, b", host="t")
    )
    assert asked.headers["x-OWN"] == "a, b"
    assert asked.headers.get("X-None") is None
    assert sorted(asked.headers) == [
        ("Content-Length", "1"),
        ("Content-Type", "text/csv"),
        ("Host", "t"),
        ("X-Own", "a, b"),
    ]
    assert dict(asked.headers)["Content-Type"] == "text/csv"
    assert (asked.content_type, asked.content_length, asked.mimetype) == ("text/csv", 1, "text/csv")


def test_uploads(bridge: FlaskBridge) -> None:
    """A file of a form is read from `request.files`, its other fields from `request.form`."""
    asked = request("POST", "/score", UPLOAD, content_type="multipart/form-data; boundary=b")
    asked.headers[b"content-length"] = str(len(UPLOAD)).encode()
    with bridge.context(asked):
        file = flask.request.files["model"]
        assert (file.filename, file.read(), file.mimetype) == ("m\xf6del.bin", b"\x00\xff", "application/octet-stream")
        assert flask.request.form.to_dict() == {"kind": "image"}


def test_forms(bridge: FlaskBridge) -> None:
    """A form without files is read from `request.form`, also when it came in chunks."""
    asked = request("POST", "/score", b"a=1&b=%C3%A9", content_type="application/x-www-form-urlencoded")
    assert flask_request(bridge, asked).form.to_dict() == {"a": "1", "b": "\xe9"}


def test_the_body_is_a_stream(bridge: FlaskBridge) -> None:
    """A script may read `request.stream` like a file."""
    asked = flask_request(bridge, request("POST", "/score", b"one\ntwo\n", content_length="8"))
    assert io.TextIOWrapper(asked.stream).readlines() == ["one\n", "two\n"]


# -- AML_FLASK_ONE_COMPATIBILITY -------------------------------------------------------------------------------


def test_flask_one_json() -> None:
    """With the compatibility, `request.json` of a body that is not JSON by content type is None."""
    asked = flask_request(FlaskBridge(flask_one=True), request("POST", "/score", b"{}", content_type="text/plain"))
    assert asked.json is None
    assert asked.get_json() is None
    assert asked.get_json(force=True) == {}


def test_flask_two_json(bridge: FlaskBridge) -> None:
    """Without it, Flask's own answer stands: 415."""
    asked = flask_request(bridge, request("POST", "/score", b"{}", content_type="text/plain"))
    with pytest.raises(UnsupportedMediaType):
        _ = asked.json


@pytest.mark.parametrize("flask_one", [False, True])
def test_invalid_json(flask_one: bool) -> None:
    """A body that says that it is JSON and is not raises 400 either way."""
    bridge, asked = FlaskBridge(flask_one), request("POST", "/score", b"{", content_type="application/json")
    with bridge.context(asked), pytest.raises(BadRequest):
        _ = bridge.request(asked).json


def test_has_key(bridge: FlaskBridge) -> None:
    """With the compatibility, `request.headers.has_key()` exists as in Flask 1."""
    headers = flask_request(FlaskBridge(flask_one=True), request("GET", "/score", x_own="1")).headers
    assert headers.has_key("x-own") and not headers.has_key("x-other")
    assert not hasattr(flask_request(bridge, request("GET", "/score")).headers, "has_key")


# -- async scripts ---------------------------------------------------------------------------------------------


def test_get_data_can_be_awaited() -> None:
    """`await request.get_data()` gives the body, and without await it is the body too."""
    bridge, asked = FlaskBridge(flask_one=True, awaitable=True), request("POST", "/score", b'{"a": 1}')

    async def script() -> tuple[Any, Any]:
        with bridge.context(asked):
            return await flask.request.get_data(), await flask.request.get_data(as_text=True)  # type: ignore[misc]

    assert asyncio.run(script()) == (b'{"a": 1}', '{"a": 1}')
    plain = flask_request(bridge, asked).get_data()
    assert isinstance(plain, bytes) and json.loads(plain) == {"a": 1}


def test_each_task_has_its_own_request() -> None:
    """Calls of an async script that run at the same time see their own `flask.request`."""
    bridge = FlaskBridge(flask_one=True, awaitable=True)

    async def script(number: int, inside: list[int], all_inside: asyncio.Event) -> str:
        with bridge.context(request("GET", f"/score?n={number}")):
            inside.append(number)
            if len(inside) == 5:
                all_inside.set()
            await all_inside.wait()
            return flask.request.args["n"]

    async def main() -> list[str]:
        inside: list[int] = []
        all_inside = asyncio.Event()
        return await asyncio.gather(*(script(number, inside, all_inside) for number in range(5)))

    assert asyncio.run(main()) == ["0", "1", "2", "3", "4"]


@pytest.mark.parametrize("body", [b"[" * 100_000, b'{"a":' * 100_000, b"9" * 5000])
@pytest.mark.parametrize("flask_one", [True, False])
def test_json_that_python_cannot_hold(flask_one: bool, body: bytes) -> None:
    """JSON that is nested too deeply, or has too long a number, is the client's error to a script that asks for it."""
    bridge = FlaskBridge(flask_one)
    asked = request("POST", "/score", body, content_type="application/json")
    with bridge.context(asked):
        assert flask.request.get_json(silent=True) is None
    with bridge.context(asked), pytest.raises(BadRequest):
        flask.request.get_json()
