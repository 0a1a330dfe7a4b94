"""The paths of MLflow's scoring server, for its users' clients and probes."""

from __future__ import annotations

import sys

from azmlinfsrv.messages import JSON, Request, Response
from azmlinfsrv.routes import GET, Health, Route


def mlflow_routes(health: Health) -> dict[str, Route]:
    """Return the routes by path: the model's calls, two probes, and the version of MLflow.

    Args:
        health: says whether the worker answers.
    """

    def ping(request: Request) -> Response:
        return Response(health.live(request).status, b"\n", [("Content-Type", JSON)])

    def version(_: Request) -> Response:
        return Response(200, sys.modules["mlflow"].__version__.encode(), [("Content-Type", JSON)])

    return {
        "/invocations": Route(None, frozenset({"GET", "HEAD", "POST", "OPTIONS"}), logged=True),
        "/ping": Route(ping, GET),
        "/health": Route(ping, GET),
        "/version": Route(version, GET),
    }
