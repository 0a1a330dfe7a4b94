"""The builder of the Ray Serve application, with a stand-in for Ray Serve; tests/ray has the real one."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from azmlinfsrv.errors import ConfigurationError
from azmlinfsrv.ray import build


class StandIn:
    """Keeps what ray.serve is told.

    Attributes:
        starter: what is to make the ASGI application.
        options: of the deployment.
        deployed: the class of it.
    """

    def __init__(self) -> None:
        self.starter: Any = None
        self.options: dict[str, Any] = {}
        self.deployed: Any = None

    def ingress(self, starter: Any) -> Callable[[type], type]:
        """See ray.serve."""
        self.starter = starter
        return lambda cls: cls

    def deployment(self, cls: type, **options: Any) -> Any:
        """See ray.serve."""
        self.deployed, self.options = cls, options
        return SimpleNamespace(bind=lambda: "the application")


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> StandIn:
    """The stand-in, as ray.serve."""
    module, serve = ModuleType("ray"), StandIn()
    module.serve = serve  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "ray", module)
    return serve


def test_deployment(serve: StandIn) -> None:
    """The deployment has Ray's options over the server's defaults, and makes its application in the replica."""
    assert build({"entry_script": "score.py", "num_replicas": "2", "max_ongoing_requests": "7"}) == "the application"
    assert serve.options["name"] == "scoring" and serve.options["num_replicas"] == 2
    assert serve.options["max_ongoing_requests"] == 7 and serve.options["max_surge_percent"] == 20
    assert inspect.isfunction(serve.starter)  # Serve calls functions, and takes anything else for the application


@pytest.mark.anyio
async def test_health(serve: StandIn) -> None:
    """Ray's health check asks the replica."""
    asked = []

    async def check_health() -> None:
        asked.append(True)

    build({})
    one = serve.deployed()
    one.app = SimpleNamespace(check_health=check_health)
    await one.check_health()
    assert asked == [True]


def test_without_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error names the extra; the arguments are looked at first."""
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ConfigurationError, match=r"pip install 'azmlinfsrv\[ray\]'"):
        build({})
    with pytest.raises(ConfigurationError, match="not an argument"):
        build({"no": 1})
