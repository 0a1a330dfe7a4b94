"""From a request to the keyword arguments of ``run()``, for each style.

Source: `inference-server.md`, "Scoring Endpoints"; messages of release 1.5.1.
"""

from __future__ import annotations

import functools
import inspect
import json
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

from azmlinfsrv import codec
from azmlinfsrv.errors import BadInputError, UnsupportedInputError, UnsupportedMethodError
from azmlinfsrv.messages import Body, Request
from azmlinfsrv.script import Script, Style
from azmlinfsrv.settings import Settings

if TYPE_CHECKING:
    from azmlinfsrv.typed import TypedRun

Parse = Callable[[Request], dict[str, Any]]
# Arguments that are had in another way than the usual one; None where they are not.
Read = Callable[[Body], dict[str, Any] | None]
Take = Callable[[Request], dict[str, Any] | None]

_EXPECTS_JSON = "Expects Content-Type to be application/json"
_BAD_BYTES = re.compile("[\udc80-\udcff]")


def input_parser(
    script: Script,
    flask_request: Callable[[Request], Any],
    max_body_bytes: int = Settings.max_body_bytes,
    around: Callable[[Parse], Parse] | None = None,
) -> Parse:
    """Return the function that makes the arguments of the script's ``run()``.

    Args:
        script: the loaded script.
        flask_request: gives the Flask request of a request, for ``@rawhttp`` scripts.
        max_body_bytes: largest body, once it is expanded; ``@rawhttp`` scripts get what was sent.
        around: returns a parser that also takes requests in another form, or None.
    """
    first = script.parameters[0].name
    parse: Parse
    if script.parse is not None:
        parse = script.parse
    elif script.style is Style.RAW:
        parse = lambda request: {first: flask_request(request)}  # noqa: E731 - four of a kind
    elif script.typed is not None:
        typed, take = script.typed, _typed_bytes(script.typed)
        parse = lambda request: typed_arguments(request, typed, take)  # noqa: E731
    elif script.style is Style.SCHEMA:
        read, take = _fast_reader(script), _decorated_bytes(script)
        parse = lambda request: schema_arguments(request, script.parameters, read, take)  # noqa: E731
    else:
        parse = lambda request: {first: json_text(request)}  # noqa: E731
    if around is not None:
        parse = around(parse)
    if script.style is not Style.RAW:
        parse = _expanding(parse, max_body_bytes)
    if not script.takes_headers:
        return parse
    return lambda request: {**parse(request), "request_headers": title_headers(request)}


def _expanding(parse: Parse, max_body_bytes: int) -> Parse:
    """Return a parser of requests whose bodies may be compressed."""

    def parse_expanded(request: Request) -> dict[str, Any]:
        if b"content-encoding" in request.headers and request.method == "POST":
            from azmlinfsrv.content_coding import expand_body

            expand_body(request, max_body_bytes)
        return parse(request)

    return parse_expanded


def json_text(request: Request) -> str:
    """Return the input of an undecorated ``run()``: the body as text, or the query as a JSON object.

    Raises:
        BadInputError: the body is not UTF-8.
        UnsupportedMethodError: neither GET nor POST.
    """
    if request.method == "POST":
        try:
            return request.body.decode()
        except UnicodeDecodeError as error:
            raise BadInputError(f"Input cannot be decoded as UTF-8: {error}") from None
    if request.method == "GET":
        return json.dumps(query_values(request.query))
    raise UnsupportedMethodError


def _fast_reader(script: Script) -> Read | None:
    """Return what reads the arrays of a large body, where the script has any and simdjson is installed."""
    from azmlinfsrv.json_arrays import array_reader

    reader = array_reader(script.run, script.parameters)
    return None if reader is None else reader.read


def _decorated_bytes(script: Script) -> Take | None:
    """Return what takes bodies of binary types, where a parameter of a decorated ``run()`` can be one."""
    from azmlinfsrv.binary_inputs import decorated_input

    found = decorated_input(script.run, script.parameters)
    return None if found is None else found.arguments


def _typed_bytes(typed: TypedRun) -> Take | None:
    """Return what takes bodies of binary types, where a parameter of a typed ``run()`` can be one."""
    from azmlinfsrv.binary_inputs import typed_input

    found = typed_input(typed)
    return None if found is None else found.arguments


def schema_arguments(
    request: Request, parameters: list[inspect.Parameter], read: Read | None = None, take: Take | None = None
) -> dict[str, Any]:
    """Return the arguments of an ``@input_schema`` ``run()``: a JSON object's values by parameter name.

    Args:
        request: the request.
        parameters: those of ``run()``.
        read: reads the arguments in some JSON texts quicker.
        take: takes bodies of binary types.

    Raises:
        BadInputError: the body is no JSON object, or lacks a parameter without a default.
        UnsupportedInputError: the content type is none that is taken.
        UnsupportedMethodError: neither GET nor POST.
    """
    if request.method == "POST":
        if is_json(request):
            found = None if read is None else read(request.body)
        else:
            found = None if take is None else take(request)
            if found is None:
                raise UnsupportedInputError(_EXPECTS_JSON)
        if found is not None:
            return found
        values = json_object(request.body)
    elif request.method == "GET":
        values = query_values(request.query)
    else:
        raise UnsupportedMethodError
    arguments = {}
    for parameter in parameters:
        value = values.get(parameter.name, parameter.default)
        if value is inspect.Parameter.empty:
            raise BadInputError(f"A value is not provided for the {parameter.name!r} parameter.")
        arguments[parameter.name] = value
    return arguments


def typed_arguments(request: Request, typed: TypedRun, take: Take | None = None) -> dict[str, Any]:
    """Return the arguments of a typed ``run()``: a JSON object's values by parameter name, validated.

    Args:
        request: the request.
        typed: what ``run()`` takes.
        take: takes bodies of binary types.

    Raises:
        BadInputError: the body is no JSON object, or does not fit.
        UnsupportedInputError: the content type is none that is taken.
        UnsupportedMethodError: neither GET nor POST.
    """
    if request.method == "POST":
        if is_json(request):
            return typed.from_json(request.body)
        found = None if take is None else take(request)
        if found is None:
            raise UnsupportedInputError(_EXPECTS_JSON)
        return found
    if request.method == "GET":
        return typed.from_values(query_values(request.query), query_texts(request.query))
    raise UnsupportedMethodError


def json_object(body: Body) -> dict[str, Any]:
    """Return the JSON object in a body.

    Raises:
        BadInputError: there is none.
    """
    if not body:
        raise BadInputError("POST body is empty. Expecting a JSON dictionary.")
    try:
        value = codec.loads(body)
    except UnicodeDecodeError as error:
        raise BadInputError(f"Input cannot be decoded as UTF-8: {error}") from None
    except RecursionError:
        raise BadInputError("POST body could not be decoded as JSON: it is nested too deeply") from None
    except ValueError as error:
        raise BadInputError(f"POST body could not be decoded as JSON: {error}") from None
    if not isinstance(value, dict):
        raise BadInputError("POST body should be a JSON dictionary.")
    return value


def is_json(request: Request) -> bool:
    """Return whether the content type is JSON: ``application/json`` or ``application/…+json`` (RFC 6839)."""
    return _is_json(request.headers.get(b"content-type", b""))


@functools.lru_cache(64)
def _is_json(content_type: bytes) -> bool:
    media_type = content_type.decode("latin-1").partition(";")[0].strip().lower()
    return media_type == "application/json" or (media_type.startswith("application/") and media_type.endswith("+json"))


def query_values(query: bytes) -> dict[str, Any]:
    """Return the values of a query: JSON where a value is JSON, text elsewhere; a repeated name is a list."""
    values: dict[str, Any] = {}
    repeated: dict[str, list[Any]] = {}
    for name, text in parse_qsl(query.decode("utf-8", "replace"), keep_blank_values=True, errors="surrogateescape"):
        name, value = _quote_bad_bytes(name), _json_or_text(_quote_bad_bytes(text))
        if name in repeated:
            repeated[name].append(value)
        elif name in values:
            values[name] = repeated[name] = [values[name], value]
        else:
            values[name] = value
    return values


def query_texts(query: bytes) -> dict[str, str | list[str]]:
    """Return the values of a query as text; a repeated name is a list."""
    lists: dict[str, list[str]] = {}
    for name, text in parse_qsl(query.decode("utf-8", "replace"), keep_blank_values=True, errors="surrogateescape"):
        lists.setdefault(_quote_bad_bytes(name), []).append(_quote_bad_bytes(text))
    return {name: texts[0] if len(texts) == 1 else texts for name, texts in lists.items()}


def _quote_bad_bytes(text: str) -> str:
    """Return the text with bytes that are not UTF-8 percent-encoded again, as werkzeug does."""
    return _BAD_BYTES.sub(lambda match: f"%{ord(match[0]) - 0xDC00:02X}", text)


def _json_or_text(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def title_headers(request: Request) -> dict[str, str]:
    """Return the headers as a WSGI server has them: names in Title-Case, none with an underscore."""
    return {
        name.decode("latin-1").title(): value.decode("latin-1")
        for name, value in request.headers.items()
        if b"_" not in name
    }
