"""The Open Inference Protocol's endpoints, and the form of its errors.

Source: the protocol's "HTTP/REST". What is not said otherwise is as for ``/score``: ids, keys, limits, log lines,
metrics.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

from azmlinfsrv import codec
from azmlinfsrv.app import Application, ObservedApplication
from azmlinfsrv.errors import BadInputError, NotFoundError, RequestError
from azmlinfsrv.inference import InferenceModel
from azmlinfsrv.inference_settings import LIVE, MODELS, PREFIX, READY, is_inference
from azmlinfsrv.messages import JSON, Request, Response
from azmlinfsrv.outputs import json_response
from azmlinfsrv.routes import GET, Handler, Health, Route

_POST = frozenset({"POST"})
_ANY = GET | _POST
_Default = TypeVar("_Default")


class UnavailableError(RequestError):
    """The server is not live, or takes no requests."""

    status = 503


class InferenceRoutes(dict[str, Route]):
    """Routes by path, among them one for every path of the protocol that nothing is served at.

    Args:
        known: the routes of the others.
        model: name and version of the model.
    """

    def __init__(self, known: Mapping[str, Route], model: tuple[str, str]) -> None:
        super().__init__(known)
        self._model = model

    def __missing__(self, path: str) -> Route:
        if not is_inference(path):
            raise KeyError(path)
        error = self._error(path)

        def refuse(request: Request) -> Response:
            request.matched = False  # telemetry must not get a route for each path that somebody thinks of
            raise error

        return Route(refuse, _ANY)

    def get(self, path: str, default: Route | _Default | None = None) -> Route | _Default | None:  # type: ignore[override]
        """See `dict.get`."""
        try:
            return self[path]
        except KeyError:
            return default

    def _error(self, path: str) -> RequestError:
        """Return the error of a path: 400 where it is of a model that there is not."""
        if not path.startswith(MODELS):
            return NotFoundError()
        name, version = self._model
        asked, *rest = path.removeprefix(MODELS).split("/")
        if asked != name:
            return BadInputError(f"there is no model {asked!r}, but {name!r}")
        if rest[:1] == ["versions"] and rest[1:2] != [version]:
            return BadInputError(f"there is no version {'/'.join(rest[1:2])!r} of the model {name!r}, but {version!r}")
        return NotFoundError()


class InferenceApplication(Application):
    """Answers the protocol's requests, errors in its form."""

    def answer(self, request: Request, response: Response) -> None:
        """See `Application.answer`."""
        if response.status >= 400 and response.stream is None and is_inference(request.path):
            _as_error(response)
        super().answer(request, response)


class ObservedInferenceApplication(InferenceApplication, ObservedApplication):
    """Tells an observer, too."""


def _as_error(response: Response) -> None:
    """Give an answer the protocol's form of errors: an object with the text as ``error``."""
    try:
        content = codec.loads(response.body)
    except (ValueError, RecursionError):
        content = None
    message = content.get("message") if isinstance(content, dict) else None
    if not isinstance(message, str):
        message = response.body.decode("utf-8", "replace")
    response.body = codec.dumps({"error": message})
    response.headers = [
        field for field in response.headers if field[0].lower() not in ("content-type", "content-length")
    ]
    response.headers.insert(0, ("Content-Type", JSON))


class InferenceExtension:
    """Adds the protocol to an application; see `app.Extension`.

    Args:
        model: the script.
    """

    plain = InferenceApplication
    observed = ObservedInferenceApplication

    def __init__(self, model: InferenceModel) -> None:
        self._model = model

    def routes(self, table: dict[str, Route], health: Health) -> dict[str, Route]:
        """See `app.Extension.routes`."""
        model = self._model
        server = codec.dumps(model.server_metadata())
        found = {
            **table,
            PREFIX: Route(lambda _: json_response(200, server), GET, logged=True),
            **probes(health.live, health.ready_probe),
        }
        ready = _probe(health.ready_probe, codec.dumps({"name": model.name, "ready": True}))

        def metadata(_: Request) -> Response:
            return json_response(200, codec.dumps(model.metadata()))

        def model_ready(request: Request) -> Response:
            model.check()
            return ready(request)

        def refuse(_: Request) -> Response:
            raise BadInputError(model.obstacle)

        for path in model.paths():
            found[path] = Route(metadata, GET, logged=True)
            found[f"{path}/ready"] = Route(model_ready, GET)
            found[f"{path}/infer"] = Route(refuse if model.obstacle else None, _POST, logged=True)
        return InferenceRoutes(found, (model.name, model.version))


def probes(live: Handler, ready: Handler) -> dict[str, Route]:
    """Return the protocol's routes of the server's health.

    Args:
        live: the handler of ``/live``.
        ready: the handler of ``/ready``.
    """
    return {LIVE: Route(_probe(live, b'{"live":true}'), GET), READY: Route(_probe(ready, b'{"ready":true}'), GET)}


def _probe(own: Handler, good: bytes) -> Handler:
    """Return a handler that says what the server's own probe does."""

    def probe(request: Request) -> Response:
        response = own(request)
        if response.status == 200:
            return json_response(200, good)
        said = codec.loads(response.body)
        raise UnavailableError(f"The server is {said['status']}: {said['reason']}")

    return probe
