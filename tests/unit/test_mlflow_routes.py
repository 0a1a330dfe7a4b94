"""The paths of MLflow's scoring server."""

from __future__ import annotations

import sys
import types
from typing import TYPE_CHECKING

from azmlinfsrv.access import make_access
from azmlinfsrv.mlflow_routes import mlflow_extension
from azmlinfsrv.routes import Health, Route
from azmlinfsrv.settings import Settings
from tests.unit.http_fakes import request

if TYPE_CHECKING:
    import pytest


def test_probes_say_whether_the_worker_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    """`/ping` and `/health` are an empty line as of MLflow's server, and 503 where a call is stuck."""
    health = Health()
    monkeypatch.setitem(sys.modules, "mlflow", types.SimpleNamespace(__version__="3.1"))
    score = Route(None, frozenset({"POST"}))
    routes = mlflow_extension().routes({"/score": score}, health)
    assert routes["/score"] is routes["/invocations"] is score
    answers = {path: route.handler(request("GET", path)) for path, route in routes.items() if route.handler}
    assert {path: (answer.status, answer.body) for path, answer in answers.items()} == {
        "/ping": (200, b"\n"),
        "/health": (200, b"\n"),
        "/version": (200, b"3.1"),
    }
    health.set("stuck")
    ping = routes["/ping"].handler
    assert ping is not None and ping(request("GET", "/ping")).status == 503


def test_the_second_path_needs_the_key() -> None:
    """Where `/score` needs a key, `/invocations` does."""
    access = make_access(Settings(api_key="0123456789abcdef"), [mlflow_extension().needs_key])
    assert access is not None
    assert access.refusal("/invocations", {}) is not None
    assert access.refusal("/ping", {}) is None
