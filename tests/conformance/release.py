"""The released server, installed from PyPI into an environment of its own that is kept between runs."""

from __future__ import annotations

import hashlib
import os
import shlex
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from tests.kept import CACHE, kept_environment

RELEASE = "azureml-inference-server-http==1.5.1"
SHARED_LIBRARIES = ("numpy", "pandas", "pillow")
COMMAND_VARIABLE = "CONFORMANCE_COMMAND"


def requirements() -> list[str]:
    """What the environment holds: the release, and the libraries scripts use in the versions installed here."""
    wanted = [RELEASE]
    for name in SHARED_LIBRARIES:
        try:
            wanted.append(f"{name}=={version(name)}")
        except PackageNotFoundError:
            wanted.append(name)
    return wanted


def environment_folder(cache: Path) -> Path:
    """Folder of the environment: it changes with the release, the Python version and the requirements."""
    digest = hashlib.sha256("\n".join(requirements()).encode()).hexdigest()[:10]
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    return cache / f"release-1.5.1-py{python}-{digest}"


def release_command(cache: Path = CACHE / "conformance") -> list[str]:
    """Command that starts the released server, after installing it where it is not there yet.

    Raises:
        subprocess.CalledProcessError: The environment could not be made.
    """
    return [str(kept_environment(environment_folder(cache), requirements()) / "azmlinfsrv")]


def current_command(release: list[str]) -> list[str]:
    """Command that starts this project's server.

    The variable CONFORMANCE_COMMAND replaces it; the word `release` there compares the release with itself,
    which shows whether the suite is steady.
    """
    chosen = os.environ.get(COMMAND_VARIABLE, "")
    if chosen == "release":
        return release
    return shlex.split(chosen) or [sys.executable, "-m", "azmlinfsrv"]
