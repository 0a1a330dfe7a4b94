"""From what `run()` returned to a response: every kind of result that published scripts return."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import sys
from collections.abc import AsyncIterator, Iterator
from typing import Any

import flask
import numpy as np
import pandas as pd
import pytest

from azmlinfsrv import outputs
from azmlinfsrv.api import AMLResponse
from azmlinfsrv.errors import NotFoundError, RunTimeoutError
from azmlinfsrv.messages import Response
from azmlinfsrv.outputs import Started, result_response, stream_response

JSON_HEADERS = [("Content-Type", "application/json"), ("x-ms-run-function-failed", "False")]


def fields(response: Response) -> dict[str, str]:
    """Return the header fields, each of which stands once."""
    found = {name.lower(): value for name, value in response.headers}
    assert len(found) == len(response.headers), response.headers
    return found


def chunks(response: Response) -> list[bytes]:
    """Return the chunks of a streamed response."""
    assert isinstance(response.stream, Iterator)
    return list(response.stream)


# -- JSON ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("result", "value"),
    [
        ({"result": [1, 2]}, {"result": [1, 2]}),
        (json.dumps({"a": 1}), '{"a": 1}'),
        (np.array([[1.5, 2]]).tolist(), [[1.5, 2.0]]),
        (np.array([[1.5, 2]]), [[1.5, 2.0]]),
        (str(ValueError("went wrong")), "went wrong"),
        ([1, "a", None], [1, "a", None]),
        ("constant", "constant"),
        (pd.DataFrame({"a": [1]}).to_json(), '{"a":{"0":1}}'),
        (pd.DataFrame({"a": [1]}), [{"a": 1}]),
        (({"error": "no"}, 400), [{"error": "no"}, 400]),
        ((), []),
        (0, 0),
        (False, False),
        ("", ""),
        (1.5, 1.5),
        ({}, {}),
        ([], []),
        ({"q": '"\\\n'}, {"q": '"\\\n'}),
        ("é☃𝄞", "é☃𝄞"),
    ],
)
def test_values_are_json(result: Any, value: Any) -> None:
    """A value is JSON with status 200: a text is encoded again, a tuple is a list and no status."""
    response = result_response(result)
    assert (response.status, response.headers, response.stream) == (200, JSON_HEADERS, None)
    assert json.loads(response.body) == value


def test_no_result_is_an_empty_object() -> None:
    """A run() that returns nothing is answered with `{}`."""
    response = result_response(None)
    assert (response.status, response.body, response.headers) == (200, b"{}", JSON_HEADERS)


@pytest.mark.parametrize(
    "result", [b"\x89PNG", bytearray(b"\x89PNG"), memoryview(b"\x89PNG"), memoryview(b"G.N.P.\x89.")[::-2]]
)
def test_bytes_are_sent_as_they_are(result: Any) -> None:
    """Bytes of every kind are the body itself."""
    response = result_response(result)
    assert bytes(response.body) == bytes(result)
    assert fields(response) == {"content-type": "application/octet-stream", "x-ms-run-function-failed": "False"}


@pytest.mark.parametrize("result", [{1, 2}, object(), 1j, {"a": {1}}, iter([1]), range(3), map(str, [1]), len])
def test_what_json_cannot_hold(result: Any) -> None:
    """A set, an iterator that is no generator and the like are an error, which the scorer logs."""
    with pytest.raises(TypeError, match="not JSON serializable"):
        result_response(result)


def test_a_result_that_is_too_deep() -> None:
    """A value that contains itself is an error of the same kind."""
    circle: list[Any] = []
    circle.append(circle)
    with pytest.raises((ValueError, RecursionError)):
        result_response(circle)


def test_errors_are_json() -> None:
    """An error is JSON with its message, its status, and whether run() failed."""
    response = outputs.error_response(NotFoundError('no "such" é'))
    assert response.status == 404
    assert json.loads(response.body) == {"message": 'no "such" é'}
    assert response.headers == JSON_HEADERS
    failed = outputs.error_response(RunTimeoutError(5))
    assert fields(failed)["x-ms-run-function-failed"] == "True"


def test_headers_of_one_answer_are_its_own() -> None:
    """What is added to one answer's headers is not in the next."""
    result_response({}).headers.append(("a", "b"))
    assert result_response({}).headers == result_response(None).headers == JSON_HEADERS


# -- Responses of Flask ----------------------------------------------------------------------------------------------


def test_a_response_of_the_script(caplog: pytest.LogCaptureFixture) -> None:
    """A Flask response keeps status, reason, headers and body, and the log says that it is one."""
    caplog.set_level(logging.INFO, "azmlinfsrv")
    answer = flask.Response("late", status="429 Slow Down", mimetype="text/plain")
    answer.headers.add("X-Own", "1")
    answer.headers.add("X-Own", "2")
    response = result_response(answer)
    assert (response.status, response.reason, response.body, response.stream) == (429, "Slow Down", b"late", None)
    assert [value for name, value in response.headers if name == "X-Own"] == ["1", "2"]
    assert ("Content-Type", "text/plain; charset=utf-8") in response.headers
    assert caplog.messages == ["run() output is HTTP Response"]


@pytest.mark.parametrize("kind", [flask.Response, lambda body: AMLResponse(body, 200)])
def test_responses_of_every_class(kind: Any) -> None:
    """AMLResponse and Flask's own are HTTP responses."""
    assert outputs.is_http_response(kind("x"))
    assert result_response(kind("x")).body == b"x"


def test_without_werkzeug_nothing_is_a_response(monkeypatch: pytest.MonkeyPatch) -> None:
    """Scripts that do not use Flask do not pay for it."""
    monkeypatch.delitem(sys.modules, "flask.wrappers")
    assert not outputs.is_http_response({})


@pytest.mark.parametrize(
    ("status", "given", "expected"),
    [
        (200, None, []),
        (404, None, []),
        (499, "False", ["False"]),
        (500, None, ["True"]),
        (503, "False", ["True"]),
        (500, "True", ["True"]),
        (200, "True", ["True"]),
    ],
)
def test_a_status_of_500_is_a_failure(status: int, given: str | None, expected: list[str]) -> None:
    """From 500 on the header says that run() failed, once; below it is the script's own, or absent."""
    answer = flask.Response("x", status=status)
    if given is not None:
        answer.headers["x-ms-run-function-failed"] = given
    headers = result_response(answer).headers
    assert [value for name, value in headers if name.lower() == "x-ms-run-function-failed"] == expected


@pytest.mark.parametrize("status", [204, 304])
def test_answers_without_content(status: int) -> None:
    """An answer that has no content has no length of one."""
    response = result_response(flask.Response(status=status))
    assert (response.status, response.body) == (status, b"")
    assert "content-length" not in fields(response)


def test_an_iterable_of_pieces_is_whole() -> None:
    """A list of texts and bytes is one body."""
    pieces: Any = ["a", b"b", "é"]
    response = result_response(flask.Response(pieces))
    assert (response.stream, response.body) == (None, "abé".encode())


def test_a_generator_of_a_response_is_streamed() -> None:
    """A response whose length is not known is sent piece by piece, and closed at the end."""
    made: list[str] = []

    def pieces() -> Iterator[Any]:
        try:
            for piece in ("a", b"b", bytearray(b"c")):
                made.append(str(piece))
                yield piece
        finally:
            made.append("closed")

    answer = flask.Response(pieces(), mimetype="text/event-stream", status=201)
    answer.call_on_close(lambda: made.append("on close"))
    response = result_response(answer)
    assert made == []
    assert isinstance(response.stream, Iterator)
    assert (response.status, next(response.stream), made) == (201, b"a", ["a"])
    assert list(response.stream) == [b"b", b"c"]
    assert made[-2:] == ["closed", "on close"]
    assert fields(response)["content-type"].startswith("text/event-stream")
    assert "content-length" not in fields(response)


def test_a_stream_of_a_response_that_is_broken_off() -> None:
    """Closing the stream of a response closes the script's generator."""
    made: list[str] = []

    def pieces() -> Iterator[str]:
        try:
            yield "a"
            yield "b"
        finally:
            made.append("closed")

    response = result_response(flask.Response(pieces()))
    stream: Any = response.stream
    assert next(stream) == b"a"
    stream.close()
    assert made == ["closed"]


def test_a_file_of_a_response_is_streamed() -> None:
    """A file that a script sends goes out in pieces, with the length that the script gives."""
    answer = flask.Response(io.BytesIO(b"x" * 100), direct_passthrough=True, headers={"Content-Length": "100"})
    response = result_response(answer)
    assert b"".join(chunks(response)) == b"x" * 100
    assert fields(response)["content-length"] == "100"


# -- Generators ------------------------------------------------------------------------------------------------------


def started(*items: Any) -> Started:
    """Return a generator of these items whose first item has been made."""
    generator = (item for item in items)
    return Started(next(generator, outputs.NO_ITEM), generator)


def started_async(*items: Any) -> Started:
    """Return an asynchronous generator of these items; the first stands for the one that has been made."""

    async def generate() -> AsyncIterator[Any]:
        for item in items[1:]:
            yield item

    return Started(items[0] if items else outputs.NO_ITEM, generate())


def collected(response: Response) -> list[bytes]:
    """Return the chunks of an asynchronous stream."""

    async def collect() -> list[bytes]:
        assert isinstance(response.stream, AsyncIterator)
        return [chunk async for chunk in response.stream]

    return asyncio.run(collect())


@pytest.mark.parametrize(
    ("result", "stream"),
    [
        ((item for item in [1]), True),
        (iter([]), False),
        ([], False),
        (map(str, []), False),
        (None, False),
        ("text", False),
    ],
)
def test_what_is_streamed(result: Any, stream: bool) -> None:
    """Generators are streamed, and nothing else."""
    assert outputs.is_stream(result) is stream


def test_asynchronous_generators_are_streamed() -> None:
    """Asynchronous generators are streamed as well."""
    assert outputs.is_stream(started_async().rest)


STREAMS = [
    ((b"a", bytearray(b"b"), memoryview(b"c")), "application/octet-stream", [b"a", b"b", b"c"]),
    ((memoryview(b"a"), b"b"), "application/octet-stream", [b"a", b"b"]),
    (("a", "é\n", b"c"), "text/plain; charset=utf-8", [b"a", "é\n".encode(), b"c"]),
    (
        ({"a": 1}, [2], 3.5, None, "text"),
        "application/x-ndjson",
        [b'{"a":1}\n', b"[2]\n", b"3.5\n", b"null\n", b"text"],
    ),
    ((), "text/plain; charset=utf-8", []),
]
NAMES = ["bytes", "memory", "text", "json", "nothing"]


@pytest.mark.parametrize(("items", "content_type", "sent"), STREAMS, ids=NAMES)
def test_the_first_item_decides(items: tuple[Any, ...], content_type: str, sent: list[bytes]) -> None:
    """Bytes are binary, text is text, and all else one JSON text a line; the items are sent one by one."""
    response = stream_response(started(*items))
    assert (response.status, response.body) == (200, b"")
    assert fields(response) == {"content-type": content_type, "x-ms-run-function-failed": "False"}
    assert chunks(response) == sent


@pytest.mark.parametrize(("items", "content_type", "sent"), STREAMS, ids=NAMES)
def test_the_first_item_decides_asynchronously(items: tuple[Any, ...], content_type: str, sent: list[bytes]) -> None:
    """An asynchronous generator is streamed alike."""
    response = stream_response(started_async(*items))
    assert fields(response) == {"content-type": content_type, "x-ms-run-function-failed": "False"}
    assert collected(response) == sent


def test_items_are_made_when_they_are_sent() -> None:
    """The generator is not ahead of the stream."""
    made: list[int] = []

    def numbers() -> Iterator[int]:
        for number in range(3):
            made.append(number)
            yield number

    generator = numbers()
    response = stream_response(Started(next(generator), generator))
    assert isinstance(response.stream, Iterator)
    assert (next(response.stream), made) == (b"0\n", [0])
    assert (next(response.stream), made) == (b"1\n", [0, 1])


def test_a_stream_that_is_broken_off_closes_its_generator() -> None:
    """Closing the stream closes the user's generator, which may clean up."""
    made: list[str] = []

    def items() -> Iterator[str]:
        try:
            yield "a"
            yield "b"
        finally:
            made.append("closed")

    generator = items()
    stream: Any = stream_response(Started(next(generator), generator)).stream
    assert next(stream) == b"a"
    stream.close()
    assert made == ["closed"]


def test_an_asynchronous_stream_that_is_broken_off_closes_its_generator() -> None:
    """Closing an asynchronous stream closes the user's asynchronous generator."""
    made: list[str] = []

    async def items() -> AsyncIterator[str]:
        try:
            yield "a"
            yield "b"
        finally:
            made.append("closed")

    async def main() -> None:
        generator = items()
        stream: Any = stream_response(Started(await anext(generator), generator)).stream
        assert await anext(stream) == b"a"
        await stream.aclose()
        assert made == ["closed"]

    asyncio.run(main())


def test_an_item_that_json_cannot_hold() -> None:
    """An item that cannot be encoded is an error in the midst of the stream, and the generator is closed."""
    made: list[str] = []

    def items() -> Iterator[Any]:
        try:
            yield {}
            yield {1}
        finally:
            made.append("closed")

    generator = items()
    response = stream_response(Started(next(generator), generator))
    assert isinstance(response.stream, Iterator)
    assert next(response.stream) == b"{}\n"
    with pytest.raises(TypeError):
        next(response.stream)
    assert made == ["closed"]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("X\r\nX-Injected", "1"), ("X: 1\r\nY", "1"), ("X Y", "1"), ("", "1"), ("X:", "1"), ("X\0", "1")),
        *(("X-Own", "a\0b"), ("X-Own", "\x1b[31m"), ("X-Own", "a\x7f")),
    ],
)
def test_a_header_that_would_be_another(name: str, value: str) -> None:
    """A field of a script's that is none, and may hold another, cannot be sent."""
    answer = AMLResponse("", 200)
    answer.headers[name] = value
    with pytest.raises(ValueError, match="cannot be sent"):
        result_response(answer)
