"""The application: routing, errors, and what every answer has."""

from __future__ import annotations

import json
import logging
import re
from typing import Any

import pytest

from azmlinfsrv.access_log import RequestLog
from azmlinfsrv.app import Application, create_app
from azmlinfsrv.cors import Cors
from azmlinfsrv.errors import ProtocolError
from azmlinfsrv.logs import LineClock
from azmlinfsrv.messages import Request, Response
from azmlinfsrv.schema import Swagger
from azmlinfsrv.settings import Settings
from tests.unit.http_fakes import FakeScript, RecordedLog, RecordedReply, headers_of, logged, request

UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")


def run(data: str) -> str:
    """Return the input: the script that is described."""
    return data


class App:
    """An application whose script is a fake, and its answers.

    Attributes:
        script: what answers ``/score``.
        log: the lines logged.
        app: the application under test.
    """

    def __init__(self, cors: str = "", server_version: str = "") -> None:
        self.script = FakeScript()
        self.log = RecordedLog()
        swagger = Swagger(Settings(), run)
        self.app: Application = create_app(
            swagger, self.script.submit, Cors(cors) if cors else None, server_version, self.log
        )

    def answer(self, request: Request, of_script: Response | None = None) -> Response:
        """Return the answer to a request; the script's, if it is asked, is `of_script` or the body."""
        reply = RecordedReply()
        self.app.handle(request, reply)
        if self.script.submitted:
            assert not reply.responses
            self.script.answer(of_script)
        return reply.response


@pytest.fixture
def app() -> App:
    """An application without CORS and version."""
    return App()


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "OPTIONS"])
def test_score_goes_to_the_script(app: App, method: str) -> None:
    """Every documented method of `/score` is the script's, and HEAD as GET is."""
    response = app.answer(request(method, "/score?a=1", b"body"), Response(207, b"from the script"))
    assert (response.status, response.body) == (207, b"from the script")


def test_the_answer_waits_for_the_script(app: App) -> None:
    """A request to `/score` is answered when the script has, others before it."""
    slow, probe = RecordedReply(), RecordedReply()
    app.app.handle(request("POST", "/score"), slow)
    app.app.handle(request("GET", "/"), probe)
    assert (slow.responses, probe.response.status) == ([], 200)
    app.script.answer()
    assert slow.response.status == 200


@pytest.mark.parametrize("target", ["/nothing", "/Score", "/score/", "/score/1", "/swagger", "//", "*", ""])
@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS", "DELETE"])
def test_unknown_paths(app: App, method: str, target: str) -> None:
    """A path without a route is a 404 in JSON, with the words of release 1.5.1, whatever the method."""
    response = app.answer(request(method, target))
    assert response.status == 404
    assert json.loads(response.body) == {
        "message": "The requested URL was not found on the server. "
        "If you entered the URL manually please check your spelling and try again."
    }
    assert headers_of(response)["content-type"] == "application/json"
    assert headers_of(response)["x-ms-run-function-failed"] == "False"


@pytest.mark.parametrize(
    ("method", "target"),
    [
        ("POST", "/"),
        ("DELETE", "/live"),
        ("POST", "/swagger.json"),
        ("PUT", "/score"),
        ("PATCH", "/score"),
    ],
)
def test_other_methods(app: App, method: str, target: str) -> None:
    """A method that a route does not take is a 405 in JSON that says which it takes (RFC 9110, 15.5.6)."""
    response = app.answer(request(method, target))
    assert response.status == 405
    assert json.loads(response.body) == {"message": "The method is not allowed for the requested URL."}
    assert "OPTIONS" in headers_of(response)["allow"]


@pytest.mark.parametrize("target", ["/", "/live", "/ready", "/swagger.json"])
def test_options_of_the_servers_own_endpoints(app: App, target: str) -> None:
    """OPTIONS on an endpoint of the server's own is answered with what it takes."""
    response = app.answer(request("OPTIONS", target))
    assert (response.status, response.body) == (200, b"")
    assert headers_of(response)["allow"] == "GET, HEAD, OPTIONS"


def test_an_unknown_swagger_version_is_json(app: App) -> None:
    """An error of a handler is an answer in JSON."""
    response = app.answer(request("GET", "/swagger.json?version=9"))
    assert response.status == 404
    assert "[9]" in json.loads(response.body)["message"]


@pytest.mark.parametrize(
    ("method", "target"), [("GET", "/"), ("POST", "/score"), ("GET", "/nothing"), ("PUT", "/score"), ("OPTIONS", "/")]
)
def test_ids_are_on_every_answer(app: App, method: str, target: str) -> None:
    """Errors and probes carry the request ids too (`contract.md`, "request and client ids")."""
    headers = headers_of(app.answer(request(method, target)))
    assert UUID.fullmatch(headers["x-request-id"])
    assert headers["x-ms-request-id"] == headers["x-request-id"]
    assert "x-ms-client-request-id" not in headers
    again = headers_of(app.answer(request(method, target)))
    assert again["x-request-id"] != headers["x-request-id"]


def test_given_ids_come_back(app: App) -> None:
    """All three ids of a request come back on a 404 as on any other answer."""
    asked = request("GET", "/nothing", x_request_id="A", x_ms_request_id="B", x_ms_client_request_id="C")
    headers = headers_of(app.answer(asked))
    assert [headers[name] for name in ("x-request-id", "x-ms-request-id", "x-ms-client-request-id")] == ["A", "B", "C"]


def test_an_empty_id_is_no_id(app: App) -> None:
    """A request id without characters is replaced by a new one."""
    assert UUID.fullmatch(headers_of(app.answer(request("GET", "/", x_request_id="")))["x-request-id"])


def test_the_script_sees_the_id_of_the_answer(app: App) -> None:
    """The id that is logged is the one that the client gets."""
    reply = RecordedReply()
    app.app.handle(request("POST", "/score", x_ms_client_request_id="C"), reply)
    scored = app.script.answer()
    assert headers_of(reply.response)["x-request-id"] == scored.ids.request_id


@pytest.mark.parametrize("name", ["x_request_id", "x_ms_request_id", "x_ms_client_request_id"])
def test_long_ids(app: App, name: str) -> None:
    """An id of more than 100 characters is a 431 with ids of its own; one of 100 is fine."""
    fine = {name: "a" * 100}
    assert app.answer(request("GET", "/", b"", **fine)).status == 200
    long = {name: "a" * 101}
    response = app.answer(request("GET", "/", b"", **long))
    assert response.status == 431
    assert "100 characters" in json.loads(response.body)["message"]
    assert UUID.fullmatch(headers_of(response)["x-request-id"])


def test_long_ids_do_not_reach_the_script(app: App) -> None:
    """A request that is refused is not scored."""
    app.app.handle(request("POST", "/score", x_request_id="a" * 101), RecordedReply())
    assert app.script.submitted == []


def test_the_deprecated_header_is_warned_of(app: App) -> None:
    """A request with x-ms-request-id logs that it will go; one with the others does not."""
    with logged("azmlinfsrv", logging.WARNING) as messages:
        app.answer(request("GET", "/", x_request_id="A", x_ms_client_request_id="C"))
        assert messages == []
        app.answer(request("GET", "/", x_ms_request_id="B"))
    assert len(messages) == 1 and "x-ms-request-id header has been deprecated" in messages[0]


def test_trace_ids(app: App) -> None:
    """A trace id comes back under the name that it came with, on errors too (`contract.md`, "trace id")."""
    headers = app.answer(request("GET", "/nothing", traceid="1", trace_id="2")).headers
    assert ("TraceId", "1") in headers and ("trace-id", "2") in headers
    assert not {"TraceId", "trace-id"} & {name for name, _ in app.answer(request("GET", "/")).headers}


@pytest.mark.parametrize(("method", "target"), [("GET", "/"), ("POST", "/score"), ("GET", "/nothing")])
def test_server_version(method: str, target: str) -> None:
    """Every answer names the server, unless that is switched off."""
    with_version = App(server_version="azmlinfsrv/1")
    assert headers_of(with_version.answer(request(method, target)))["x-ms-server-version"] == "azmlinfsrv/1"
    assert "x-ms-server-version" not in headers_of(App().answer(request(method, target)))


def test_time_of_run(app: App) -> None:
    """The time that `run()` took is told in milliseconds, with three decimals; without a call there is none."""
    scored = Response(200, b"1")
    scored.exec_ms = 12.34567
    assert headers_of(app.answer(request("POST", "/score"), scored))["x-ms-run-fn-exec-ms"] == "12.346"
    assert "x-ms-run-fn-exec-ms" not in headers_of(app.answer(request("POST", "/score")))


@pytest.mark.parametrize("target", ["/", "/score", "/swagger.json", "/swagger.json?version=9"])
def test_cors_headers_are_on_every_route(target: str) -> None:
    """A listed origin may read every answer of a route, errors of the route too; not the router's 405."""
    response = App(cors="*").answer(request("GET", target, origin="http://a.test"))
    assert headers_of(response)["access-control-allow-origin"] == "http://a.test"
    response = App(cors="*").answer(request("DELETE", target, origin="http://a.test"))
    assert "access-control-allow-origin" not in headers_of(response)


def test_cors_headers_are_not_on_unknown_paths() -> None:
    """What is no route gets no CORS headers, as in release 1.5.1."""
    response = App(cors="*").answer(request("GET", "/nothing", origin="http://a.test"))
    assert "access-control-allow-origin" not in headers_of(response)


def test_the_servers_own_log_line(app: App) -> None:
    """Requests to score and swagger are logged, errors of theirs too; probes and unknown paths are not."""
    app.answer(request("POST", "/score", b"four"))
    app.answer(request("POST", "/score", b""), Response(500, b"xx"))
    app.answer(request("GET", "/swagger.json?version=9"))
    app.answer(request("GET", "/"))
    app.answer(request("GET", "/nothing"))
    app.answer(request("OPTIONS", "/live"))
    assert [(path, status) for path, status, _ in app.log.server] == [
        ("/score", 200),
        ("/score", 500),
        ("/swagger.json", 404),
    ]
    assert app.log.server[0][2] == 4


def test_the_access_line_comes_when_the_answer_is_sent(app: App) -> None:
    """The access line has the number of bytes that the connection says it has sent."""
    asked = request("GET", "/nothing?x")
    app.answer(asked)
    assert app.log.access == []
    app.app.sent(asked, 404, 17)
    assert app.log.access == [("/nothing?x", 404, 17)]


def test_reject(app: App) -> None:
    """Bytes that are no request are answered in JSON with ids, and their connection is closed."""
    reply = RecordedReply()
    app.app.reject(request("POST", "/score", x_request_id="A"), reply, ProtocolError("too large", 413))
    response = reply.response
    assert (response.status, response.close) == (413, True)
    assert json.loads(response.body) == {"message": "too large"}
    assert headers_of(response)["x-request-id"] == "A"
    assert app.script.submitted == []


def test_other_answers_leave_the_connection_open(app: App) -> None:
    """An error of the application is no reason to close the connection."""
    assert app.answer(request("GET", "/nothing")).close is False
    assert app.answer(request("POST", "/score"), Response(500)).close is False


class Failing(Swagger):
    """Describes nothing."""

    def document(self, version: str) -> dict[str, Any]:
        """Fail."""
        raise RuntimeError(version)


def test_a_defect_is_answered() -> None:
    """Where a handler fails the client gets 500, and the log has the reason."""
    reply, log = RecordedReply(), RecordedLog()
    app = create_app(Failing(Settings(), run), FakeScript().submit, None, "", log)
    with logged("azmlinfsrv") as messages:
        app.handle(request("GET", "/swagger.json?version=7"), reply)
    assert reply.response.status == 500
    assert "An unexpected internal error" in json.loads(reply.response.body)["message"]
    assert messages == ["A request could not be handled"]
    assert log.server == [("/swagger.json", 500, len(reply.response.body))]


def test_a_log_that_fails_costs_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Filters of the user's that raise keep no answer back."""

    def fail(record: logging.LogRecord) -> bool:
        raise LookupError(record.msg)

    for name in ("azmlinfsrv", "gunicorn.access"):
        monkeypatch.setattr(logging.getLogger(name), "filters", [fail])
        monkeypatch.setattr(logging.getLogger(name), "level", logging.INFO)
        monkeypatch.setattr(logging.getLogger(name), "disabled", False)
    monkeypatch.setattr(logging, "raiseExceptions", False)
    reply = RecordedReply()
    app = create_app(Swagger(Settings(), run), FakeScript().submit, None, "", RequestLog(LineClock(), None))
    asked = request("GET", "/swagger.json", x_ms_request_id="old")
    app.handle(asked, reply)
    app.sent(asked, 200, 1)
    assert reply.response.status == 200
