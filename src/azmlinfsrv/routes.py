"""The handlers of each endpoint but ``/score``, which is the application's own."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple
from urllib.parse import parse_qs

from azmlinfsrv import codec
from azmlinfsrv.messages import HTML, Request, Response
from azmlinfsrv.outputs import json_response
from azmlinfsrv.schema import Swagger

Handler = Callable[[Request], Response]

GET = frozenset({"GET", "HEAD"})


class Route(NamedTuple):
    """One endpoint.

    Attributes:
        handler: makes the response, on the I/O thread; None hands the request to the script.
        methods: HTTP methods that it takes, besides OPTIONS.
        logged: whether requests to it get the server's own log line.
        own_options: whether OPTIONS is the handler's too; else it is answered with ``Allow``.
    """

    handler: Handler | None
    methods: frozenset[str]
    logged: bool = False
    own_options: bool = False


class Health:
    """What the probes say.

    Attributes:
        ready: whether requests are taken: the script is loaded and the server is not stopping.
    """

    def __init__(self) -> None:
        self.ready = True

    def root(self, _: Request) -> Response:
        """``/``: the documented health check."""
        return Response(200, b"Healthy", [("Content-Type", HTML)])

    def live(self, _: Request) -> Response:
        """``/live``: the worker answers."""
        return json_response(200, b'{"status":"live"}')

    def ready_probe(self, _: Request) -> Response:
        """``/ready``: whether the worker takes requests."""
        if self.ready:
            return json_response(200, b'{"status":"ready"}')
        return json_response(503, codec.dumps({"status": "not ready", "reason": "stopping"}))


def routes(health: Health, swagger: Swagger) -> dict[str, Route]:
    """Return the routes by path."""
    texts: dict[str, bytes] = {}

    def swagger_json(request: Request) -> Response:
        version = parse_qs(request.query.decode("latin-1"), keep_blank_values=True).get("version", ["2"])[0]
        if version not in texts:
            texts[version] = codec.dumps(swagger.document(version))
        return json_response(200, texts[version])

    return {
        "/": Route(health.root, GET),
        "/live": Route(health.live, GET),
        "/ready": Route(health.ready_probe, GET),
        "/swagger.json": Route(swagger_json, GET, logged=True),
        "/score": Route(None, frozenset({"GET", "HEAD", "POST", "OPTIONS"}), logged=True, own_options=True),
    }


def allow_header(route: Route) -> str:
    """Return the value of ``Allow`` for a route."""
    return ", ".join(sorted({*route.methods, "OPTIONS"}))
