"""The Azure ML SDK, installed from PyPI into an environment of its own that is kept between runs."""

from __future__ import annotations

import fcntl
import shutil
import subprocess
import sys
from pathlib import Path

RELEASE = "azure-ai-ml==1.35.2"
CACHE = Path(__file__).resolve().parents[2] / ".cache" / "azureml"


def sdk_python() -> str:
    """Return the interpreter of an environment that has the SDK, made where it is not there yet.

    Raises:
        subprocess.CalledProcessError: it could not be made.
    """
    folder = CACHE / f"{RELEASE}-py{sys.version_info.major}.{sys.version_info.minor}"
    complete = folder / "complete"
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not complete.exists():
            shutil.rmtree(folder, ignore_errors=True)
            subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
            pip = [str(folder / "bin" / "python"), "-m", "pip", "--disable-pip-version-check", "install", "-qq"]
            subprocess.run([*pip, RELEASE], check=True)
            complete.touch()
    return str(folder / "bin" / "python")
