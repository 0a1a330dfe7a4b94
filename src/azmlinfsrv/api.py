"""What scoring scripts import: `rawhttp`, `AMLRequest`, `AMLResponse`.

Importing this module imports Flask; the server itself does so only for scripts that use it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, TypeVar

from flask import Request
from flask import Response as FlaskResponse
from werkzeug.datastructures import EnvironHeaders

from azmlinfsrv import codec
from azmlinfsrv.messages import JSON
from azmlinfsrv.script import RAW_MARK

RUN_FAILED_HEADER = "x-ms-run-function-failed"

# Fields whose values contain commas by definition: RFC 9110, 5.6.7 (dates), and RFC 6265 (cookies).
_NEVER_SPLIT = frozenset(
    {
        "set-cookie",
        "expires",
        "date",
        "last-modified",
        "retry-after",
        "if-modified-since",
        "if-unmodified-since",
        "www-authenticate",
        "content-disposition",
        "content-type",
        "location",
    }
)

_Function = TypeVar("_Function", bound=Callable[..., Any])


def rawhttp(func: _Function) -> _Function:
    """Mark ``run()`` as one that takes the HTTP request itself.

    Returns:
        The same function.
    """
    setattr(func, RAW_MARK, True)
    return func


class _FlaskOneHeaders(EnvironHeaders):
    """Request headers with the method that Flask 1 had."""

    def has_key(self, key: str) -> bool:
        """Return whether the header is there."""
        return key in self


class AMLRequest(Request):
    """The request of a ``@rawhttp`` script: a Flask request."""

    def __init__(self, environ: dict[str, Any] | None = None, *args: Any, **kwargs: Any) -> None:
        """Make a request of a WSGI environment."""
        super().__init__(environ if environ is not None else {}, *args, **kwargs)


class ScriptRequest(AMLRequest):
    """The class of the requests that scripts get; scripts log them, and find the name that Flask's have."""


class FlaskOneRequest(ScriptRequest):
    """The same, with AML_FLASK_ONE_COMPATIBILITY."""

    def __init__(self, environ: dict[str, Any] | None = None, *args: Any, **kwargs: Any) -> None:
        """Make a request of a WSGI environment."""
        super().__init__(environ, *args, **kwargs)
        self.headers = _FlaskOneHeaders(self.environ)

    def on_json_loading_failed(self, e: ValueError | None) -> Any:
        """Return None for a body that is not JSON by content type; raise 400 for one that is not JSON."""
        return None if e is None else super().on_json_loading_failed(e)


ScriptRequest.__name__ = FlaskOneRequest.__name__ = "Request"


class AMLResponse(FlaskResponse):
    """An answer with a status and headers of the script's own.

    Args:
        message: body: str, bytes, or an iterable of them (streamed); with `json_str` anything that JSON can hold;
            None is an empty JSON object.
        status_code: int or `http.HTTPStatus`.
        response_headers: a value with commas is sent as several fields, but for those that hold commas by
            definition (``Set-Cookie``, dates). ``Content-Type`` replaces the usual one.
        json_str: whether to encode `message` as JSON.
        run_function_failed: value of the ``x-ms-run-function-failed`` header.
    """

    def __init__(
        self,
        message: Any,
        status_code: int,
        response_headers: Mapping[str, str] = MappingProxyType({}),
        json_str: bool = False,
        run_function_failed: bool = False,
    ) -> None:
        if message is None or json_str:
            super().__init__(codec.dumps({} if message is None else message), status=status_code, mimetype=JSON)
        else:
            super().__init__(message, status=status_code)
        self.headers[RUN_FAILED_HEADER] = str(run_function_failed)
        for name, value in response_headers.items():
            if name.lower() == "content-type":
                self.headers[name] = value
            elif name.lower() in _NEVER_SPLIT:
                self.headers.add(name, value)
            else:
                for part in value.split(","):
                    self.headers.add(name, part.strip())
