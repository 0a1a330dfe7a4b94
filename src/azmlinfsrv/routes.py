"""The handlers of each endpoint but ``/score``, which is the application's own."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection
from typing import NamedTuple
from urllib.parse import parse_qs

from azmlinfsrv import codec
from azmlinfsrv.messages import HTML, Request, Response
from azmlinfsrv.outputs import json_response
from azmlinfsrv.schema import Swagger
from azmlinfsrv.worker_state import REASONS, STUCK

Handler = Callable[[Request], Response]

# The page has its style and script inside, and talks to nobody but this server.
_PAGE_HEADERS = (
    (
        "Content-Security-Policy",
        "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
    ("Cache-Control", "no-cache"),
)

# Where the page has the versions of the documents, so that it asks for none that is missing.
VERSIONS_MARK = b"{{versions}}"

GET = frozenset({"GET", "HEAD"})


class Route(NamedTuple):
    """One endpoint.

    Attributes:
        handler: makes the response, on the I/O thread; None hands the request to the script.
        methods: HTTP methods that it takes, besides OPTIONS.
        logged: whether requests to it get the server's own log line.
    """

    handler: Handler | None
    methods: frozenset[str]
    logged: bool = False


class Health:
    """What the probes say, by the reasons for which this worker takes no requests; used on the I/O thread.

    Args:
        changed: is told the reasons whenever they change, or None.
    """

    def __init__(self, changed: Callable[[Collection[str]], object] | None = None) -> None:
        self._reasons: set[str] = set()
        self.changed = changed

    def set(self, reason: str) -> None:
        """Say that requests are not taken, for one of `REASONS`."""
        if reason not in self._reasons:
            self._reasons.add(reason)
            self._tell()

    def clear(self, reason: str) -> None:
        """Take a reason back."""
        if reason in self._reasons:
            self._reasons.remove(reason)
            self._tell()

    @property
    def reason(self) -> str:
        """The gravest reason, or "" where requests are taken."""
        return max(self._reasons, key=REASONS.index, default="")

    def _tell(self) -> None:
        if self.changed is not None:
            self.changed(self._reasons)

    def root(self, _: Request) -> Response:
        """``/``: the documented health check."""
        return Response(200, b"Healthy", [("Content-Type", HTML)])

    def live(self, _: Request) -> Response:
        """``/live``: the worker answers, and no call of ``run()`` is stuck beyond its grace."""
        if STUCK in self._reasons:
            return json_response(503, codec.dumps({"status": "not live", "reason": STUCK}))
        return json_response(200, b'{"status":"live"}')

    def ready_probe(self, _: Request) -> Response:
        """``/ready``: whether the worker takes requests."""
        if not self._reasons:
            return json_response(200, b'{"status":"ready"}')
        return json_response(503, codec.dumps({"status": "not ready", "reason": self.reason}))


def routes(
    health: Health, swagger: Swagger, docs: bytes | None = None, metrics: Handler | None = None
) -> dict[str, Route]:
    """Return the routes by path.

    Args:
        health: answers the probes.
        swagger: the OpenAPI documents.
        docs: the page of ``/docs``, or None to leave it out.
        metrics: the handler of ``/metrics``, or None to leave it out.
    """
    texts: dict[str, bytes] = {}
    usual = swagger.usual_version

    def swagger_json(request: Request) -> Response:
        version = parse_qs(request.query.decode("latin-1"), keep_blank_values=True).get("version", [usual])[0]
        if version not in texts:
            texts[version] = codec.dumps(swagger.document(version))
        return json_response(200, texts[version])

    table = {
        "/": Route(health.root, GET),
        "/live": Route(health.live, GET),
        "/ready": Route(health.ready_probe, GET),
        "/swagger.json": Route(swagger_json, GET, logged=True),
        "/score": Route(None, frozenset({"GET", "HEAD", "POST", "OPTIONS"}), logged=True),
    }
    if docs is not None:
        page = docs.replace(VERSIONS_MARK, ",".join(swagger.versions).encode())
        table["/docs"] = Route(lambda _: Response(200, page, [("Content-Type", HTML), *_PAGE_HEADERS]), GET)
    if metrics is not None:
        table["/metrics"] = Route(metrics, GET)
    return table


def allow_header(route: Route) -> str:
    """Return the value of ``Allow`` for a route."""
    return ", ".join(sorted({*route.methods, "OPTIONS"}))


def read_docs_page() -> bytes:
    """Return the page of ``/docs``."""
    with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "docs.html"), "rb") as file:
        return file.read()
