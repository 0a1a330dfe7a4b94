"""The endpoints that the server answers itself."""

from __future__ import annotations

import inspect
import json

import pytest

from azmlinfsrv.errors import SwaggerVersionError
from azmlinfsrv.messages import Response
from azmlinfsrv.routes import Health, Route, allow_header, routes
from azmlinfsrv.schema import Swagger
from azmlinfsrv.settings import Settings
from azmlinfsrv.typed import TypedRun
from tests.unit.http_fakes import headers_of, request


def run(data: str) -> str:
    """Return the input: the script that is described."""
    return data


@pytest.fixture
def health() -> Health:
    """What the probes say."""
    return Health()


@pytest.fixture
def table(health: Health) -> dict[str, Route]:
    """The routes by path."""
    return routes(health, Swagger(Settings(service_name='A "quoted" name'), run))


def get(table: dict[str, Route], target: str) -> Response:
    """Return what the handler of a target answers."""
    handler = table[target.partition("?")[0]].handler
    assert handler is not None
    return handler(request("GET", target))


def test_endpoints(table: dict[str, Route]) -> None:
    """These are the endpoints; only `/score` is the script's."""
    assert set(table) == {"/", "/live", "/ready", "/swagger.json", "/score"}
    assert [path for path, route in table.items() if route.handler is None] == ["/score"]


def test_root_is_healthy(table: dict[str, Route]) -> None:
    """`GET /` answers the plain text Healthy (`inference-server.md`, "Health"), as release 1.5.1 types it."""
    response = get(table, "/")
    assert (response.status, response.body) == (200, b"Healthy")
    assert headers_of(response) == {"content-type": "text/html; charset=utf-8"}


def test_live(table: dict[str, Route], health: Health) -> None:
    """`GET /live` answers with JSON, also while the worker starts, stops or has too much to do, until it is stuck."""
    for reason in ("overloaded", "starting", "stopping"):
        health.set(reason)
        response = get(table, "/live")
        assert (response.status, json.loads(response.body)) == (200, {"status": "live"})
    assert headers_of(response)["content-type"] == "application/json"
    health.set("stuck")
    response = get(table, "/live")
    assert (response.status, json.loads(response.body)) == (503, {"status": "not live", "reason": "stuck"})


def test_ready(table: dict[str, Route], health: Health) -> None:
    """`GET /ready` answers 503 with the gravest reason while there is one, and Healthy stays Healthy."""

    def ready() -> tuple[int, object]:
        response = get(table, "/ready")
        assert headers_of(response)["content-type"] == "application/json"
        assert get(table, "/").body == b"Healthy"
        return response.status, json.loads(response.body)

    assert ready() == (200, {"status": "ready"})
    health.set("stopping")
    assert ready() == (503, {"status": "not ready", "reason": "stopping"})
    health.set("overloaded")
    assert ready() == (503, {"status": "not ready", "reason": "stopping"})
    health.clear("stopping")
    assert ready() == (503, {"status": "not ready", "reason": "overloaded"})
    health.clear("overloaded")
    health.clear("overloaded")
    assert ready() == (200, {"status": "ready"})


def test_health_tells_of_changes() -> None:
    """Who asked to be told learns the reasons when they change, and only then."""
    told: list[set[str]] = []
    health = Health(lambda reasons: told.append(set(reasons)))
    for _ in range(2):
        health.set("overloaded")
    health.set("stuck")
    for _ in range(2):
        health.clear("overloaded")
    assert told == [{"overloaded"}, {"overloaded", "stuck"}, {"stuck"}]
    assert health.reason == "stuck"


@pytest.mark.parametrize(
    ("query", "field", "version"),
    [
        ("", "swagger", "2.0"),
        ("?version=2", "swagger", "2.0"),
        ("?version=3", "openapi", "3.0."),
        ("?version=3.1", "openapi", "3.1."),
        ("?other=1&version=3", "openapi", "3.0."),
    ],
)
def test_swagger(table: dict[str, Route], query: str, field: str, version: str) -> None:
    """`GET /swagger.json` answers the document of the version that the query names, 2 without one."""
    response = get(table, f"/swagger.json{query}")
    assert headers_of(response)["content-type"] == "application/json"
    document = json.loads(response.body)
    assert document[field].startswith(version)
    assert document["info"]["title"] == 'A "quoted" name'


@pytest.mark.parametrize("version", ["1", "4", "latest", "", "%33%2e%31%00"])
def test_swagger_of_an_unknown_version(table: dict[str, Route], version: str) -> None:
    """A version that does not exist is a 404 that lists those that do, each time it is asked for."""
    for _ in range(2):
        with pytest.raises(SwaggerVersionError, match=r"2, 3, 3\.1") as caught:
            get(table, f"/swagger.json?version={version}")
        assert caught.value.status == 404


def test_swagger_is_written_once(table: dict[str, Route]) -> None:
    """The text of a document is kept: it never changes while the server runs."""
    assert get(table, "/swagger.json?version=3").body is get(table, "/swagger.json?version=3").body


@pytest.mark.parametrize(
    ("path", "expected"),
    [("/", "GET, HEAD, OPTIONS"), ("/swagger.json", "GET, HEAD, OPTIONS"), ("/score", "GET, HEAD, OPTIONS, POST")],
)
def test_allow(table: dict[str, Route], path: str, expected: str) -> None:
    """Allow lists the methods of the endpoint, OPTIONS always among them, each once."""
    assert allow_header(table[path]) == expected


def test_probes_are_not_logged(table: dict[str, Route]) -> None:
    """Requests to score and swagger get the server's own log line, probes do not, as in release 1.5.1."""
    assert {path for path, route in table.items() if route.logged} == {"/score", "/swagger.json"}


PAGE = b'<main data-versions="{{versions}}"></main>'


def typed_run(data: int) -> int:
    """Return the input: a typed script."""
    return data


def typed_swagger() -> Swagger:
    """Return the documents of a typed script."""
    parameters = list(inspect.signature(typed_run).parameters.values())
    return Swagger(Settings(), typed_run, TypedRun(typed_run, parameters, {"data": int, "return": int}))


def test_docs(health: Health) -> None:
    """`/docs` is an HTML page that may talk to nobody but this server, and knows which documents there are."""
    table = routes(health, Swagger(Settings(), run), PAGE)
    response = get(table, "/docs")
    assert (response.status, response.body) == (200, b'<main data-versions="2,3,3.1"></main>')
    headers = headers_of(response)
    assert headers["content-type"] == "text/html; charset=utf-8"
    assert headers["content-security-policy"].startswith("default-src 'none'; ")
    assert "http" not in headers["content-security-policy"]
    assert table["/docs"].methods == {"GET", "HEAD"}


def test_docs_of_a_typed_script(health: Health) -> None:
    """The page of a typed script asks for the one version that there is."""
    assert get(routes(health, typed_swagger(), PAGE), "/docs").body == b'<main data-versions="3.1"></main>'


def test_docs_may_be_left_out(table: dict[str, Route]) -> None:
    """Without the page there is no route."""
    assert "/docs" not in table


def test_the_usual_version_of_a_typed_script(health: Health) -> None:
    """Who names no version gets the one that there is."""
    document = json.loads(get(routes(health, typed_swagger()), "/swagger.json").body)
    assert document["openapi"] == "3.1.0"
