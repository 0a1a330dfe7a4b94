"""Fixtures for tests of the image. `scripts/test --image` builds it; they build what is made of it."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Protocol

import pytest

from tests.conftest import PROJECT, RequireProgram
from tests.image.container import Container, Image, buildah

SCRIPTS = Path(__file__).parent / "scripts"
BUILD_S = 600

Build = Callable[..., Image]


class Serve(Protocol):
    """Type of the fixture `serve`."""

    def __call__(self, image: Image, *arguments: str, wait: bool = True, **given: Any) -> Container:
        """Run an image; `given` is as for `Image.command`."""


@pytest.fixture(scope="session")
def build(require_program: RequireProgram) -> Iterator[Build]:
    """A function that builds an image with scripts/build-image, and returns it; none stays."""
    for program in ("buildah", "unshare", "nsenter", "ip"):
        require_program(program)
    if os.geteuid() != 0:
        pytest.skip("building an image needs root")
    with ExitStack() as stack:

        def run(name: str, *arguments: str | Path) -> Image:
            command = [PROJECT / "scripts" / "build-image", "-t", f"localhost/{name}", *arguments]
            result = subprocess.run(command, check=False, capture_output=True, text=True, timeout=BUILD_S)
            assert result.returncode == 0, result.stdout[-3000:] + result.stderr[-3000:]
            stack.callback(buildah, "rmi", "--force", f"localhost/{name}")
            image = Image(f"localhost/{name}")
            stack.callback(image.remove)
            return image

        yield run


@pytest.fixture(scope="session")
def image(require_program: RequireProgram) -> Iterator[Image]:
    """The image that `scripts/build-image` has built."""
    for program in ("buildah", "unshare", "nsenter", "ip"):
        require_program(program)
    made = Image("localhost/azmlinfsrv")
    yield made
    made.remove()


@pytest.fixture
def app(tmp_path: Path) -> Path:
    """A user's folder with the script `inside.py`; the image's user may look into it, and write."""
    path = tmp_path / "app"
    shutil.copytree(SCRIPTS, path, ignore=shutil.ignore_patterns("__pycache__"))
    os.chown(path, 1000, 1000)
    return path


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """A function that runs containers; each is stopped after the test and must leave nothing running."""
    with ExitStack() as stack:

        def start(image: Image, *arguments: str, wait: bool = True, **given: Any) -> Container:
            folder = tmp_path / f"container-{len(list(tmp_path.iterdir()))}"
            folder.mkdir()
            container = image.serve(*arguments, folder=folder, **given)
            stack.callback(container.stop)
            if wait:
                container.wait_ready()
            return container

        yield start


@pytest.fixture(scope="module")
def running(image: Image, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Container]:
    """The image with `inside.py`, for tests that change nothing in it."""
    folder = tmp_path_factory.mktemp("container")
    given = {"env": {"AZUREML_ENTRY_SCRIPT": "inside.py", "AZMLINFSRV_MAX_BODY_BYTES": "1000"}}
    container = image.serve(folder=folder, volumes={SCRIPTS: "/var/azureml-app"}, **given)
    try:
        container.wait_ready()
        yield container
    finally:
        container.stop()
