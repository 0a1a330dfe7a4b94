"""The application: from a request to the response that a client gets, free of I/O.

Everything is passed in; `create_app` puts the parts together.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Any, Protocol

from azmlinfsrv import identity, logs
from azmlinfsrv.access_log import RequestLog
from azmlinfsrv.cors import Cors
from azmlinfsrv.errors import (
    InvalidIdError,
    MethodNotAllowedError,
    NotFoundError,
    ProtocolError,
    RequestError,
    ServerError,
    UnauthorizedError,
)
from azmlinfsrv.identity import IdSource
from azmlinfsrv.messages import HTML, Reply, Request, Response
from azmlinfsrv.outputs import error_response
from azmlinfsrv.routes import Health, Route, allow_header, routes
from azmlinfsrv.schema import Swagger
from azmlinfsrv.telemetry.metrics import WorkerMetrics
from azmlinfsrv.telemetry.prometheus import Scrape

if TYPE_CHECKING:
    from azmlinfsrv.access import Access

logger = logging.getLogger("azmlinfsrv")

Admit = Callable[[str, str, dict[bytes, bytes]], UnauthorizedError | None]
Submit = Callable[[Request, Callable[[Request, Response], None]], None]


class Observer(Protocol):
    """Is told of requests; on the I/O thread, returns at once, never raises."""

    def answered(self, request: Request, sent_bytes: int) -> None:
        """Take a request whose answer is complete, or will never be; ``request.response`` is that answer."""


_DEPRECATED = (
    "x-ms-request-id header has been deprecated and will be removed from future versions of the server."
    " Please use x-ms-client-request-id."
)


def _nothing(_: Request) -> None:
    pass


_ID_FIELDS = frozenset({identity.REQUEST_ID, identity.LEGACY_ID, identity.CLIENT_ID})
# Content-Type, x-ms-run-function-failed, x-ms-run-fn-exec-ms: what answers of our own have at this point.
_USUAL_FIELDS = 3


class Application:
    """Routes requests and finishes responses; every method is called on the I/O thread.

    Args:
        table: routes by path.
        health: what the probes say.
        submit: hands a request to the script.
        cors: the CORS policy, or None.
        server_version: value of ``x-ms-server-version``, or "" to leave it out.
        log: writes the lines of requests.
        metrics: counts requests, or None.
        access: says which requests may pass, or None where all may.

    Attributes:
        health: what the probes say.
        abandon: is told of a request to the script whose client has left before its answer was complete.
    """

    def __init__(  # noqa: PLR0913 - what `create_app` puts together
        self,
        table: dict[str, Route],
        health: Health,
        submit: Submit,
        cors: Cors | None,
        server_version: str,
        log: RequestLog,
        metrics: WorkerMetrics | None = None,
        access: Access | None = None,
    ) -> None:
        self.health = health
        self.abandon: Callable[[Request], object] = _nothing
        self._routes = table
        self._submit = submit
        self._cors = cors
        self._version_header = [("x-ms-server-version", server_version)] if server_version else []
        self._log = log
        self._metrics = metrics
        self._access = access
        self._ids = IdSource()

    @property
    def paths(self) -> Collection[str]:
        """The paths that have a route."""
        return self._routes.keys()

    def handle(self, request: Request, reply: Reply) -> None:
        """Answer a request, now or once the script has."""
        request.reply = reply
        route = self._routes.get(request.path)
        request.matched = route is not None and (request.method in route.methods or request.method == "OPTIONS")
        try:
            self._identify(request)
            if route is None:
                response = error_response(NotFoundError())
            elif self._access is not None and (refusal := self._access.refusal(request.path, request.headers)):
                response = self._refused(request, route, refusal)
            elif request.method in route.methods:
                request.route = request.path if route.logged else ""
                if route.handler is None:
                    self._submit(request, self.answer)
                    return
                response = route.handler(request)
            elif request.method == "OPTIONS":
                response = _options(route)
            else:
                response = error_response(MethodNotAllowedError())
                response.headers.append(("Allow", allow_header(route)))  # RFC 9110, 15.5.6
        except ServerError as error:
            response = error_response(error)
        except Exception:  # the border of the request: whatever fails here, its client gets an answer
            logger.exception("A request could not be handled")
            response = error_response(ServerError())
        self.answer(request, response)

    @property
    def admit(self) -> Admit | None:
        """What says from path, method and fields why a request is not worth reading its body; None where all are."""
        access = self._access
        if access is None:
            return None
        return lambda path, method, headers: None if method == "OPTIONS" else access.refusal(path, headers)

    def _refused(self, request: Request, route: Route, refusal: UnauthorizedError) -> Response:
        """Return the answer to a request without a valid key; OPTIONS is how browsers ask before they send one."""
        if request.method == "OPTIONS":
            return _options(route)
        request.route = request.path if route.logged else ""
        if self._metrics is not None:
            self._metrics.rejected(refusal.status)
        return error_response(refusal)

    def reject(self, request: Request, reply: Reply, error: RequestError) -> None:
        """Answer bytes that are no acceptable request; `request` holds what is known of it."""
        if self._metrics is not None and isinstance(error, ProtocolError):
            self._metrics.rejected(error.status)
        request.reply = reply
        request.ids = identity.fallback_ids(request.header(b"x-request-id"), self._ids)
        if isinstance(error, UnauthorizedError):
            request.matched = True
            request.route = request.path if self._routes[request.path].logged else ""
        response = error_response(error)
        response.close = True
        self.answer(request, response)

    def answer(self, request: Request, response: Response) -> None:
        """Complete a response with what every answer has, log it, and send it."""
        headers = response.headers
        if response.exec_ms is not None:
            headers.append(("x-ms-run-fn-exec-ms", f"{response.exec_ms:.3f}"))
        self._add_ids(request, headers)
        if self._cors is not None and request.matched:
            self._cors.apply(request, response)
        if request.route:
            duration_ms = (time.perf_counter() - request.received) * 1000
            self._log.server_line(request, response, duration_ms)
        request.reply.send(response)

    def sent(self, request: Request, status: int, body_bytes: int) -> None:
        """Log that an answer has been sent, with the length of its body; called by the connection."""
        self._log.access_line(request, status, body_bytes)
        if self._metrics is not None:
            self._metrics.finished(request, status, body_bytes)

    def left(self) -> None:
        """Count a client that ended its side of the connection before its answer was complete."""
        if self._metrics is not None:
            self._metrics.disconnected()

    def _identify(self, request: Request) -> None:
        """Give the request its ids; where no route takes it, ids that are not valid are not worth an error.

        Raises:
            InvalidIdError: an id is too long (431), or has control characters (400).
        """
        headers = request.headers
        if not (b"x-request-id" in headers or b"x-ms-request-id" in headers or b"x-ms-client-request-id" in headers):
            new = self._ids.new()
            request.ids = identity.RequestIds(new, new, "")
            return
        request_id, legacy_id = request.header(b"x-request-id"), request.header(b"x-ms-request-id")
        if legacy_id and request.matched and len(request_id) <= identity.MAX_LENGTH:
            logs.write(logger, logging.WARNING, _DEPRECATED)
        try:
            client_id = request.header(b"x-ms-client-request-id")
            request.ids = identity.resolve_ids(request_id, legacy_id, client_id, self._ids)
        except InvalidIdError:
            request.ids = identity.fallback_ids(request_id, self._ids)
            if request.matched:
                raise

    def _add_ids(self, request: Request, headers: list[tuple[str, str]]) -> None:
        ids = request.ids
        if len(headers) > _USUAL_FIELDS:  # a script's own ids give way
            ours = _ID_FIELDS if ids.client_id else _ID_FIELDS - {identity.CLIENT_ID}
            headers[:] = [field for field in headers if field[0].lower() not in ours]
        headers += self._version_header
        headers.append((identity.REQUEST_ID, ids.request_id))
        headers.append((identity.LEGACY_ID, ids.legacy_id))
        if ids.client_id:
            headers.append((identity.CLIENT_ID, ids.client_id))
        for name, field in ((b"traceid", "TraceId"), (b"trace-id", "trace-id")):
            if name in request.headers and (value := request.header(name)).isprintable():
                headers.append((field, value))


def _options(route: Route) -> Response:
    return Response(200, b"", [("Content-Type", HTML), ("Allow", allow_header(route))])


class ObservedApplication(Application):
    """Tells an observer of each request whose answer is complete, or will never be.

    Args:
        observer: is told.
        *parts: those of `Application`.
    """

    def __init__(self, observer: Observer, *parts: Any) -> None:
        super().__init__(*parts)
        self._observer = observer

    def answer(self, request: Request, response: Response) -> None:
        """See `Application.answer`."""
        request.response = response
        super().answer(request, response)

    def sent(self, request: Request, status: int, body_bytes: int) -> None:
        """See `Application.sent`."""
        super().sent(request, status, body_bytes)
        self._observer.answered(request, body_bytes)


class Extension(Protocol):
    """Another protocol beside the server's own."""

    @property
    def plain(self) -> type[Application]:
        """The application that serves both."""

    @property
    def observed(self) -> type[ObservedApplication]:
        """The same with an observer."""

    def routes(self, table: dict[str, Route], health: Health) -> dict[str, Route]:
        """Return the routes of both.

        Args:
            table: the server's own.
            health: what the probes say.
        """


def create_app(  # noqa: PLR0913 - the composition root
    swagger: Swagger,
    submit: Submit,
    cors: Cors | None,
    server_version: str,
    log: RequestLog,
    docs: bytes | None = None,
    metrics: WorkerMetrics | None = None,
    observer: Observer | None = None,
    access: Access | None = None,
    extension: Extension | None = None,
) -> Application:
    """Put the application together.

    Args:
        swagger: the OpenAPI documents.
        submit: hands a request to the script.
        cors: the CORS policy, or None.
        server_version: value of ``x-ms-server-version``, or "".
        log: writes the lines of requests.
        docs: the page of ``/docs``, or None to leave it out.
        metrics: counts requests and is served at ``/metrics``, or None.
        observer: is told of each request, or None.
        access: says which requests may pass, or None where all may.
        extension: adds another protocol, or None.
    """
    health = Health()
    table = routes(health, swagger, docs, Scrape(metrics) if metrics is not None else None)
    plain, observed = Application, ObservedApplication
    if extension is not None:
        table, plain, observed = extension.routes(table, health), extension.plain, extension.observed
    parts = table, health, submit, cors, server_version, log, metrics, access
    return plain(*parts) if observer is None else observed(observer, *parts)
