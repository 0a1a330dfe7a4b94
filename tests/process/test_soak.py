"""A short soak: mixed requests with reloads and a killed worker; the long one is `scripts/soak`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import PROJECT

pytestmark = pytest.mark.process

SECONDS = 14


@pytest.mark.timeout(180)
def test_memory_and_descriptors_stay(tmp_path: Path) -> None:
    """Through reloads, errors, streams and clients that leave, every answer is right, and nothing grows."""
    output = tmp_path / "soak.md"
    command = [
        sys.executable,
        str(PROJECT / "bench" / "soak.py"),
        "--minutes",
        str(SECONDS / 60),
        "--output",
        str(output),
    ]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "| add: as it must |" in output.read_text("utf-8")
