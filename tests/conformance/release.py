"""The released server, installed from PyPI into an environment of its own that is kept between runs."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shlex
import shutil
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

RELEASE = "azureml-inference-server-http==1.5.1"
SHARED_LIBRARIES = ("numpy", "pandas", "pillow")
COMMAND_VARIABLE = "CONFORMANCE_COMMAND"
PROJECT = Path(__file__).resolve().parents[2]


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


def release_command(cache: Path = PROJECT / ".cache" / "conformance") -> list[str]:
    """Command that starts the released server, after installing it where it is not there yet.

    Raises:
        subprocess.CalledProcessError: The environment could not be made.
    """
    folder = environment_folder(cache)
    complete = folder / "complete"
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not complete.exists():
            shutil.rmtree(folder, ignore_errors=True)
            subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
            pip = [
                str(folder / "bin" / "python"),
                "-m",
                "pip",
                "--disable-pip-version-check",
                "install",
                "-qq",
            ]
            subprocess.run([*pip, *requirements()], check=True)
            complete.touch()
    return [str(folder / "bin" / "azmlinfsrv")]


def current_command(release: list[str]) -> list[str]:
    """Command that starts this project's server.

    The variable CONFORMANCE_COMMAND replaces it; the word `release` there compares the release with itself,
    which shows whether the suite is steady.
    """
    chosen = os.environ.get(COMMAND_VARIABLE, "")
    if chosen == "release":
        return release
    return shlex.split(chosen) or [sys.executable, "-m", "azmlinfsrv"]
