"""The paths of MLflow's scoring server, for its users' clients and probes."""

from __future__ import annotations

import sys

from azmlinfsrv.app import Extension
from azmlinfsrv.messages import JSON, Request, Response
from azmlinfsrv.routes import GET, Health, Route

INVOCATIONS = "/invocations"


def mlflow_extension() -> Extension:
    """Return what adds MLflow's paths to an application: the model's calls, two probes, and MLflow's version."""
    return Extension(_with_mlflow, lambda path: path == INVOCATIONS)


def _with_mlflow(table: dict[str, Route], health: Health) -> dict[str, Route]:

    def ping(request: Request) -> Response:
        return Response(health.live(request).status, b"\n", [("Content-Type", JSON)])

    def version(_: Request) -> Response:
        return Response(200, sys.modules["mlflow"].__version__.encode(), [("Content-Type", JSON)])

    return {
        **table,
        INVOCATIONS: table["/score"],
        "/ping": Route(ping, GET),
        "/health": Route(ping, GET),
        "/version": Route(version, GET),
    }
