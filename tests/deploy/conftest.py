"""Fixtures for the tests of what is under `deploy`."""

from __future__ import annotations

import functools
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import RequireProgram
from tests.deploy.rendering import COMPONENTS, KUBERNETES, Rendered, render, render_with

READ_ONLY = Path(__file__).with_name("read-only.sh")
Render = Callable[[str], Rendered]


@pytest.fixture(scope="session")
def kubectl(require_program: RequireProgram) -> str:
    """The program that renders the overlays."""
    return require_program("kubectl")


@pytest.fixture(scope="session")
def rendered(kubectl: str, tmp_path_factory: pytest.TempPathFactory) -> Render:
    """A function that renders an entry of `deploy/kubernetes`, or the base with a component, once."""

    def once(entry: str) -> Rendered:
        if entry in COMPONENTS:
            return render_with(kubectl, tmp_path_factory.mktemp("overlay"), entry)
        return render(kubectl, KUBERNETES / entry)

    return functools.cache(once)


@pytest.fixture
def unshare(require_program: RequireProgram, tmp_path: Path) -> str:
    """The program that makes namespaces; skips a test that runs nginx as another user where the system refuses them.

    With AZMLINFSRV_REQUIRE_PROGRAMS=1, it fails the test instead.
    """
    require_program("nginx")
    (tmp_path / "try").mkdir()
    program = require_program("unshare")
    command = [program, "--mount", str(READ_ONLY), str(tmp_path / "try"), "true"]
    tried = subprocess.run(command, capture_output=True, text=True, check=False)
    if tried.returncode:
        reason = f"no namespace with a read-only root can be made here: {tried.stderr}"
        if os.environ.get("AZMLINFSRV_REQUIRE_PROGRAMS") == "1":
            pytest.fail(reason)
        pytest.skip(reason)
    return program
