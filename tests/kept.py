"""What tests install from PyPI beside the project's own environment, kept between runs."""

from __future__ import annotations

import fcntl
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

CACHE = Path(__file__).resolve().parents[1] / ".cache"


def kept_environment(folder: Path, requirements: Sequence[str]) -> Path:
    """Return the folder of the programs of an environment with these requirements, made where it is not there yet.

    Args:
        folder: the environment's; its name has to change with the requirements and the Python version.
        requirements: what pip is told to install.

    Raises:
        subprocess.CalledProcessError: it could not be made.
    """

    def make() -> None:
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        _install(folder / "bin" / "python", *requirements)

    return _kept(folder, make) / "bin"


def kept_package(folder: Path, requirement: str) -> Path:
    """Return a folder to import a package from, without what it requires; made where it is not there yet.

    Args:
        folder: the folder; its name has to change with the requirement.
        requirement: what pip is told to install.

    Raises:
        subprocess.CalledProcessError: it could not be made.
    """
    return _kept(folder, lambda: _install(sys.executable, "--no-deps", "--target", str(folder), requirement))


def _kept(folder: Path, make: Callable[[], None]) -> Path:
    """Return a folder that was made whole; of several processes that need it, one makes it and the others wait."""
    complete = folder / "complete"
    folder.parent.mkdir(parents=True, exist_ok=True)
    with (folder.parent / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not complete.exists():
            shutil.rmtree(folder, ignore_errors=True)
            make()
            complete.touch()
    return folder


def _install(python: str | Path, *arguments: str) -> None:
    subprocess.run([str(python), "-m", "pip", "--disable-pip-version-check", "install", "-qq", *arguments], check=True)
