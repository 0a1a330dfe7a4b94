"""The cluster of the tests: one for all, since it takes ten seconds to start. Only scripts/test --ray runs these."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.ray.cluster import Cluster, application, programs

SCRIPTS = Path(__file__).parent / "scripts"

Deploy = Callable[..., str]


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """A Ray cluster with Serve."""
    with Cluster(programs()) as running:
        yield running


@pytest.fixture
def deploy(cluster: Cluster, request: pytest.FixtureRequest) -> Iterator[Deploy]:
    """A function that deploys a script of `scripts/` and returns the application's name; it is removed again.

    Without a script it deploys what the arguments say. Deployed again, it is the same application.
    """
    name = "".join(letter if letter.isalnum() else "-" for letter in request.node.name)
    used = False

    def run(script: str | None, *, wait: bool = True, env: dict[str, str] | None = None, **arguments: Any) -> str:
        nonlocal used
        used = True
        named: dict[str, Any] = {"entry_script": str(SCRIPTS / script)} if script else {}
        cluster.deploy(application(name, env=env, **named, **arguments))
        if wait:
            cluster.wait_running(name)
        return name

    yield run
    if used:
        cluster.remove(name)


@pytest.fixture
def client(cluster: Cluster) -> Iterator[httpx.Client]:
    """A client of all applications: paths begin with the application's name."""
    with httpx.Client(base_url=cluster.address, timeout=60.0, trust_env=False) as one:
        yield one
