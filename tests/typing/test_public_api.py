"""The types of what scoring scripts import, as a user's own mypy sees them."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent


@pytest.mark.timeout(180)
@pytest.mark.parametrize("name", ["public_api.py", "scripts/mistakes.py"])
def test_types(pytestconfig: pytest.Config, tmp_path: Path, name: str) -> None:
    """In a folder of the user's, strict mypy finds the packages' types, what is wrong in their use and nothing else."""
    script = Path(shutil.copy(HERE / name, tmp_path))
    cache = pytestconfig.rootpath / ".mypy_cache" / "of_users"
    checked = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--config-file", "", "--cache-dir", str(cache), script.name],
        cwd=script.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_it_runs(tmp_path: Path) -> None:
    """The same file runs: what mypy believes is there is there."""
    script = Path(shutil.copy(HERE / "public_api.py", tmp_path))
    done = subprocess.run(
        [sys.executable, "-W", "error", script.name], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
