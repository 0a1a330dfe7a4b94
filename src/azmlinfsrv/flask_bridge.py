"""Requests as Flask has them, for scripts that use Flask: a real request in a real request context."""

from __future__ import annotations

import contextlib
import io
import sys
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager
from typing import Any
from urllib.parse import unquote_to_bytes

import flask
from flask.json.provider import DefaultJSONProvider

from azmlinfsrv.api import AMLRequest, FlaskOneRequest, ScriptRequest
from azmlinfsrv.messages import Request


def wsgi_environ(request: Request) -> dict[str, Any]:
    """Return the WSGI environment of a request (PEP 3333), with RAW_URI as gunicorn gives it."""
    request.body = bytes(request.body)  # a stream over anything else begins with a copy, and each reading makes another
    path, _, _ = request.target.partition(b"?")
    if not path.startswith(b"/") or path.startswith(b"//"):
        path = request.path.encode()
    environ: dict[str, Any] = {
        "REQUEST_METHOD": request.method,
        "SCRIPT_NAME": "",
        "PATH_INFO": unquote_to_bytes(path).decode("latin-1"),
        "QUERY_STRING": request.query.decode("latin-1"),
        "RAW_URI": request.target.decode("latin-1"),
        "SERVER_NAME": request.server[0] or "localhost",
        "SERVER_PORT": str(request.server[1] or 80),
        "SERVER_PROTOCOL": f"HTTP/{request.version}",
        "SERVER_SOFTWARE": "azmlinfsrv",
        "REMOTE_ADDR": request.client[0],
        "REMOTE_PORT": str(request.client[1]),
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": request.scheme,
        "wsgi.input": io.BytesIO(request.body),
        "wsgi.input_terminated": True,
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": False,
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
    }
    for name, value in request.headers.items():
        if b"_" in name:
            continue
        key = name.decode("latin-1").upper().replace("-", "_")
        environ[key if key in ("CONTENT_TYPE", "CONTENT_LENGTH") else f"HTTP_{key}"] = value.decode("latin-1")
    return environ


class _AwaitableBytes(bytes):
    def __await__(self) -> Generator[Any, None, bytes]:
        yield from ()
        return bytes(self)


class _AwaitableText(str):
    __slots__ = ()

    def __await__(self) -> Generator[Any, None, str]:
        yield from ()
        return str(self)


class _BoundedJson(DefaultJSONProvider):
    """Flask's JSON, to which a text that is nested too deeply is no JSON, and so the client's error."""

    def loads(self, s: str | bytes, **kwargs: Any) -> Any:
        try:
            return super().loads(s, **kwargs)
        except RecursionError:
            raise ValueError("it is nested too deeply") from None


# Endpoints by the names that release 1.5.1 gives them.
_RULES = (
    ("/", "main.health_probe", ["GET"]),
    ("/score", "main.handle_score", ["GET", "POST", "OPTIONS"]),
    ("/swagger.json", "main.get_swagger_specification", ["GET"]),
)


class FlaskBridge:
    """Makes the Flask side of each request.

    Args:
        flask_one: AML_FLASK_ONE_COMPATIBILITY.
        awaitable: whether ``request.get_data()`` may be awaited, as ``async def run()`` scripts do.
    """

    def __init__(self, flask_one: bool, awaitable: bool = False) -> None:
        self._app = flask.Flask("azmlinfsrv", static_folder=None)
        # Routes make request.endpoint and url_for() work; without one, Flask keeps an exception for each request, and
        # with it the request and its body until the garbage is collected.
        for path, endpoint, methods in _RULES:
            self._app.add_url_rule(path, endpoint, methods=methods, provide_automatic_options=False)
        request_class: type[AMLRequest] = FlaskOneRequest if flask_one else ScriptRequest
        self._app.json = _BoundedJson(self._app)
        self._app.request_class = _awaitable(request_class) if awaitable else request_class

    @contextlib.contextmanager
    def context(self, request: Request) -> Generator[None, None, None]:
        """Make ``flask.request``, ``flask.g`` and ``flask.current_app`` work inside the block."""
        with self._app.request_context(wsgi_environ(request)):
            yield

    def without_request(self) -> AbstractContextManager[Any]:
        """Return a context in which ``flask.current_app`` works, but no request is there."""
        return self._app.app_context()

    def request(self, _: Request) -> flask.Request:
        """Return the Flask request of the context that is open."""
        return flask.request._get_current_object()  # type: ignore[attr-defined,no-any-return]  # a LocalProxy


def _awaitable(base: type[AMLRequest]) -> type[AMLRequest]:
    class AwaitableRequest(base):  # type: ignore[misc,valid-type]  # a mix-in for two bases
        def get_data(self, *args: Any, **kwargs: Any) -> Any:
            data = super().get_data(*args, **kwargs)
            return _AwaitableText(data) if isinstance(data, str) else _AwaitableBytes(data)

    AwaitableRequest.__name__ = base.__name__
    return AwaitableRequest


Context = Callable[[Request], AbstractContextManager[None]]
