"""Undecorated: returns the response object that the request names."""

import http
import json

import flask
from azureml.contrib.services.aml_response import AMLResponse
from werkzeug.wrappers import Response as WerkzeugResponse

JPEG = b"\xff\xd8\xff\xe0\x00\x10JFIF\x00"


def pieces():
    """Three pieces of a stream."""
    yield "one "
    yield b"two "
    yield "trzy żółw"


def text_pieces():
    """Pieces as text, one of them empty."""
    yield "a"
    yield ""
    yield "b"


def failing_pieces():
    """A stream that breaks off."""
    yield "one "
    raise ValueError("broke off")


def changed(response, **headers):
    """A response with headers set afterwards."""
    for name, value in headers.items():
        response.headers[name.replace("_", "-")] = value
    return response


def with_type(response, mimetype):
    """A response with its type set afterwards."""
    response.mimetype = mimetype
    return response


def with_cookie():
    """A response with two cookies."""
    response = flask.Response("cookies")
    response.set_cookie("a", "1", path="/", httponly=True)
    response.set_cookie("b", "2")
    return response


AML = {
    "text": lambda: AMLResponse("hello", 200),
    "text-status": lambda: AMLResponse("made", 201),
    "bytes": lambda: AMLResponse(JPEG, 200),
    "bytes-type": lambda: AMLResponse(JPEG, 200, {"Content-Type": "image/jpeg"}),
    "text-type": lambda: AMLResponse("<p>hi</p>", 200, {"Content-Type": "text/html; charset=utf-8"}),
    "type-lower-case": lambda: AMLResponse("x", 200, {"content-type": "text/csv"}),
    "unicode": lambda: AMLResponse("żółw 🎉", 200),
    "none": lambda: AMLResponse(None, 200),
    "none-error": lambda: AMLResponse(None, 500),
    "empty": lambda: AMLResponse("", 200),
    "empty-204": lambda: AMLResponse("", 204),
    "dict": lambda: AMLResponse({"b": 1, "a": 2}, 200),
    "dict-json": lambda: AMLResponse({"b": 1, "a": [2.0, None]}, 200, json_str=True),
    "dict-json-headers": lambda: AMLResponse({"a": 1}, 200, {"x-own": "1"}, json_str=True),
    "dict-json-type": lambda: AMLResponse({"a": 1}, 200, {"Content-Type": "application/problem+json"}, json_str=True),
    "dict-json-keyword": lambda: AMLResponse({"a": 1}, json_str=True, status_code=202),
    "text-json": lambda: AMLResponse("text", 200, json_str=True),
    "json-unserialisable": lambda: AMLResponse({1, 2}, 200, json_str=True),
    "list": lambda: AMLResponse(["a", "b"], 200),
    "list-of-numbers": lambda: AMLResponse([1, 2], 200),
    "list-json": lambda: AMLResponse([1, "a"], 200, json_str=True),
    "number": lambda: AMLResponse(5, 200),
    "number-json": lambda: AMLResponse(5, 200, json_str=True),
    "generator": lambda: AMLResponse(pieces(), 200),
    "generator-type": lambda: AMLResponse(text_pieces(), 200, {"Content-Type": "text/event-stream"}),
    "generator-empty": lambda: AMLResponse(iter(()), 200),
    "generator-fails": lambda: AMLResponse(failing_pieces(), 200),
    "keywords": lambda: AMLResponse(message="kw", status_code=202),
    "status-keyword": lambda: AMLResponse("kw", status_code=404),
    "headers-keyword": lambda: AMLResponse("kw", 200, response_headers={"x-own": "1"}),
    "status-enum": lambda: AMLResponse("x", http.HTTPStatus.BAD_REQUEST),
    "status-text": lambda: AMLResponse("x", "404 Gone Fishing"),
    "status-number-text": lambda: AMLResponse("x", "202"),
    "status-unknown": lambda: AMLResponse("x", 299),
    "status-teapot": lambda: AMLResponse("x", 418),
    "status-304": lambda: AMLResponse("x", 304),
    "status-500": lambda: AMLResponse("x", 500),
    "status-503": lambda: AMLResponse("busy", 503, {"Retry-After": "5"}),
    "status-502-json": lambda: AMLResponse({"error": "up"}, 502, json_str=True),
    "status-float": lambda: AMLResponse("x", 200.0),
    "failed": lambda: AMLResponse("x", 200, run_function_failed=True),
    "failed-500": lambda: AMLResponse("x", 500, run_function_failed=True),
    "headers": lambda: AMLResponse("x", 200, {"X-One": "1", "x-two": "2"}),
    "headers-comma": lambda: AMLResponse("x", 200, {"x-many": "a, b,c ,, d"}),
    "headers-cookie": lambda: AMLResponse("x", 200, {"Set-Cookie": "a=1; Expires=Wed, 21 Oct 2026 07:28:00 GMT"}),
    "headers-expires": lambda: AMLResponse("x", 200, {"Expires": "Wed, 21 Oct 2026 07:28:00 GMT"}),
    "headers-last-modified": lambda: AMLResponse("x", 200, {"Last-Modified": "Wed, 21 Oct 2026 07:28:00 GMT"}),
    "headers-cache-control": lambda: AMLResponse("x", 200, {"Cache-Control": "no-cache, no-store"}),
    "headers-allow-methods": lambda: AMLResponse("x", 200, {"Access-Control-Allow-Methods": "GET, POST"}),
    "headers-empty": lambda: AMLResponse("x", 200, {"x-empty": ""}),
    "headers-number": lambda: AMLResponse("x", 200, {"x-number": 5}),
    "headers-none": lambda: AMLResponse("x", 200, None),
    "headers-unicode": lambda: AMLResponse("x", 200, {"x-latin": "é"}),
    "headers-beyond-latin": lambda: AMLResponse("x", 200, {"x-wide": "日本"}),
    "headers-newline": lambda: AMLResponse("x", 200, {"x-line": "a\r\nb: c"}),
    "headers-length": lambda: AMLResponse("hello", 200, {"x-length": "5"}),
    "headers-own-id": lambda: AMLResponse("x", 200, {"x-request-id": "own", "x-ms-request-id": "own"}),
    "headers-own-client-id": lambda: AMLResponse("x", 200, {"x-ms-client-request-id": "own"}),
    "headers-own-time": lambda: AMLResponse("x", 200, {"x-ms-run-fn-exec-ms": "own"}),
    "headers-own-failed": lambda: AMLResponse("x", 200, {"x-ms-run-function-failed": "own"}),
    "headers-own-version": lambda: AMLResponse("x", 200, {"x-ms-server-version": "own"}),
    "headers-server": lambda: AMLResponse("x", 200, {"x-server": "own"}),
    "set-afterwards": lambda: changed(AMLResponse("x", 200), x_late="1", Content_Type="text/css"),
    "type-afterwards": lambda: with_type(AMLResponse("a,b", 200), "text/csv"),
    "no-status": lambda: AMLResponse("x"),
}
FLASK = {
    "text": lambda: flask.Response("hello"),
    "bytes": lambda: flask.Response(JPEG, mimetype="image/jpeg"),
    "status": lambda: flask.Response("nope", status=403),
    "status-text": lambda: flask.Response("x", status="299 Odd"),
    "status-500": lambda: flask.Response("x", status=500),
    "empty": lambda: flask.Response(),
    "204": lambda: flask.Response(status=204),
    "304": lambda: flask.Response(status=304),
    "json-type": lambda: flask.Response(json.dumps({"a": 1}), mimetype="application/json"),
    "content-type": lambda: flask.Response("x", content_type="text/x; charset=latin-1"),
    "headers": lambda: flask.Response("x", headers={"X-One": "1", "x-ms-run-function-failed": "own"}),
    "headers-pairs": lambda: flask.Response("x", headers=[("Link", "<a>, <b>"), ("Link", "<c>")]),
    "cookies": with_cookie,
    "stream": lambda: flask.Response(pieces(), mimetype="text/plain"),
    "stream-context": lambda: flask.Response(flask.stream_with_context(text_pieces()), mimetype="text/plain"),
    "stream-fails": lambda: flask.Response(failing_pieces()),
    "stream-status": lambda: flask.Response(text_pieces(), status=206),
    "list": lambda: flask.Response(["a", b"b"]),
    "redirect": lambda: flask.redirect("/elsewhere"),
    "redirect-unicode": lambda: flask.redirect("/gdzie?a=ż b"),
    "jsonify": lambda: flask.jsonify(a=1, b=[1.0, None]),
    "make-response": lambda: flask.make_response(({"a": 1}, 202, {"x-own": "1"})),
    "no-length": lambda: flask.Response("x", headers={"Cache-Control": "no-cache, no-store"}),
    "werkzeug": lambda: WerkzeugResponse("plain", status=200),
    "etag": lambda: changed(flask.Response("x"), ETag='"abc"'),
}
KINDS = {"aml": AML, "flask": FLASK}


def init():
    """Nothing to prepare."""


def run(data):
    """Return the response that is named."""
    kind, name = json.loads(data)
    return KINDS[kind][name]()
