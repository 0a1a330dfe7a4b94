"""The package goes together with what users have: it resolves, installs and serves beside it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PIP = [sys.executable, "-m", "pip", "--disable-pip-version-check"]

pytestmark = [pytest.mark.long, pytest.mark.process, pytest.mark.timeout(300)]

# The released server refuses each of these by an exact version or a narrow range of its own, or did so for years.
BESIDE = ["pydantic", "opentelemetry-sdk", "flask==3.0.*", "wrapt==1.14.1", "mlflow-skinny"]
# Too large to install for a test.
ONLY_RESOLVED = ["azure-ai-ml"]


def pip(*arguments: str) -> str:
    """Run pip, and return what it prints; an AssertionError has its errors."""
    result = subprocess.run([*PIP, *arguments], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return result.stdout


@pytest.mark.parametrize("requirement", BESIDE)
def test_serves_beside(requirement: str, tmp_path: Path) -> None:
    """With the newest release of a package, or one that users are bound to, the server installs and answers."""
    python = tmp_path / "venv" / "bin" / "python"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(tmp_path / "venv")], check=True)
    pip("--python", str(python), "install", "--quiet", "--no-compile", str(ROOT), requirement)
    pip("--python", str(python), "check")
    smoke = subprocess.run(
        [python, ROOT / "tests" / "smoke" / "smoke_test.py"], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert smoke.returncode == 0, smoke.stdout + smoke.stderr


@pytest.mark.parametrize("requirement", ONLY_RESOLVED)
def test_resolves_beside(requirement: str) -> None:
    """Pip finds versions of everything that go together."""
    report = json.loads(
        pip("install", "--quiet", "--dry-run", "--ignore-installed", "--report", "-", str(ROOT), requirement)
    )
    names = {each["metadata"]["name"].lower() for each in report["install"]}
    assert {"azmlinfsrv", requirement} <= names


def test_newer_wrapt_is_what_cannot_be_had() -> None:
    """What cannot be resolved is wrapt beyond 1.16: inference-schema, which every release of it pins, says so."""
    result = subprocess.run(
        [*PIP, "install", "--quiet", "--dry-run", "--ignore-installed", "inference-schema", "wrapt>1.16.0"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert "ResolutionImpossible" in result.stderr or "conflict" in result.stderr, "mended: say so in the docs"
