"""From what ``run()`` returned to a response.

Source: release 1.5.1; `contract.md`, "result that JSON cannot hold" and "JSON, both ways".
"""

from __future__ import annotations

import itertools
import logging
import re
import sys
from collections.abc import AsyncIterator, Iterator
from types import AsyncGeneratorType, GeneratorType
from typing import Any, NamedTuple

from azmlinfsrv import codec
from azmlinfsrv.errors import InvalidInputError, ServerError
from azmlinfsrv.messages import JSON, Response

logger = logging.getLogger("azmlinfsrv")

# RFC 9110, 5.1 and 5.5: a name is a token, and a value has no control character but the tab.
_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")

RUN_FAILED_HEADER = "x-ms-run-function-failed"
_JSON_HEADERS = (("Content-Type", JSON), (RUN_FAILED_HEADER, "False"))


def json_response(status: int, text: bytes, run_function_failed: bool = False) -> Response:
    """Return a response with a JSON text."""
    return Response(status, text, [("Content-Type", JSON), (RUN_FAILED_HEADER, str(run_function_failed))])


def error_response(error: ServerError) -> Response:
    """Return the answer that a client gets for an error."""
    content: dict[str, Any] = {"message": error.message}
    if isinstance(error, InvalidInputError):
        content["errors"] = error.errors
    response = json_response(error.status, codec.dumps(content), error.run_function_failed)
    response.headers += error.headers
    if error.retry_after_s:
        response.headers.append(("Retry-After", str(error.retry_after_s)))
    return response


def result_response(result: Any) -> Response:
    """Return the response for a result of ``run()`` that is not a stream.

    Flask responses keep their status, headers and body; bytes are sent as they are; None is an empty JSON object;
    all else is JSON.

    Raises:
        TypeError, ValueError, RecursionError: JSON cannot hold the result.
    """
    if result is None:
        return Response(200, b"{}", [*_JSON_HEADERS])
    if isinstance(result, (bytes, bytearray, memoryview)):
        return Response(200, bytes(result), [("Content-Type", "application/octet-stream"), _JSON_HEADERS[1]])
    if is_http_response(result):
        logger.info("run() output is HTTP Response")
        return http_response(result)
    return Response(200, codec.dumps(result), [*_JSON_HEADERS])


def binary_response(result: Any, accept: str) -> Response | None:
    """Return the response for an array or a frame in the binary form that an Accept header asks for.

    None where it asks for JSON, or the result has no such form.
    """
    if "application/" not in accept.lower():
        return None
    from azmlinfsrv import binary

    encoded = binary.encode(result, accept)
    return encoded and Response(200, encoded[1], [("Content-Type", encoded[0]), _JSON_HEADERS[1]])


def is_http_response(result: Any) -> bool:
    """Return whether the result is an `AMLResponse` or any other `flask.Response`."""
    wrappers = sys.modules.get("flask.wrappers")
    return wrappers is not None and isinstance(result, wrappers.Response)


def http_response(result: Any) -> Response:
    """Return the response of a werkzeug response; one without a known length is streamed."""
    reason = result.status.partition(" ")[2]
    streamed = result.is_streamed
    if not streamed:
        result.make_sequence()
    headers = [(name, str(value)) for name, value in result.get_wsgi_headers({})]
    for name, value in headers:
        if not (name + value).isascii():
            value.encode("latin-1")  # raises where a header cannot hold it
        if not _NAME.fullmatch(name) or _CONTROL.search(value):
            message = f"the header {name!r} cannot be sent: {value!r}"
            raise ValueError(message)
    if result.status_code >= 500:
        headers = [(name, value) for name, value in headers if name.lower() != RUN_FAILED_HEADER]
        headers.append((RUN_FAILED_HEADER, "True"))
    if streamed:
        iter(result.response)  # raises before anything is sent
        return Response(result.status_code, b"", headers, _http_stream(result), reason)
    return Response(result.status_code, result.get_data(), headers, None, reason)


def _http_stream(result: Any) -> Iterator[bytes]:
    try:
        for chunk in result.iter_encoded():
            yield bytes(chunk)
    finally:
        result.close()


NO_ITEM = object()


class Started(NamedTuple):
    """A generator whose first item has been made: `NO_ITEM` where it made none."""

    first: Any
    rest: Iterator[Any] | AsyncIterator[Any]


def is_stream(result: Any) -> bool:
    """Return whether the result is a generator, whose items are sent one by one."""
    return isinstance(result, (GeneratorType, AsyncGeneratorType))


def stream_response(started: Started) -> Response:
    """Return the response for a generator.

    The first item decides: bytes are ``application/octet-stream``, text is ``text/plain``, all else is one JSON
    text a line (``application/x-ndjson``).
    """
    first, rest = started
    if isinstance(first, (bytes, bytearray, memoryview)):
        content_type = "application/octet-stream"
    elif first is NO_ITEM or isinstance(first, str):
        content_type = "text/plain; charset=utf-8"
    else:
        content_type = "application/x-ndjson"
    headers = [("Content-Type", content_type), _JSON_HEADERS[1]]
    if isinstance(rest, AsyncIterator):
        return Response(200, b"", headers, _encode_async(first, rest))
    items = rest if first is NO_ITEM else itertools.chain([first], rest)
    return Response(200, b"", headers, _encode(items, rest))


def _encode(items: Iterator[Any], generator: Iterator[Any]) -> Iterator[bytes]:
    try:
        for item in items:
            yield encode_chunk(item)
    finally:
        close = getattr(generator, "close", None)
        if close is not None:
            close()


async def _encode_async(first: Any, rest: AsyncIterator[Any]) -> AsyncIterator[bytes]:
    try:
        if first is not NO_ITEM:
            yield encode_chunk(first)
        async for item in rest:
            yield encode_chunk(item)
    finally:
        close = getattr(rest, "aclose", None)
        if close is not None:
            await close()


def encode_chunk(item: Any) -> bytes:
    """Return the bytes of one item of a stream: bytes and text as they are, all else as a line of JSON."""
    if isinstance(item, (bytes, bytearray, memoryview)):
        return bytes(item)
    if isinstance(item, str):
        return item.encode()
    return codec.dumps(item) + b"\n"
