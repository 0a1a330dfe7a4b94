"""The threads of numerical libraries in real workers."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from azmlinfsrv.processors import runnable_processors, usable_processors
from azmlinfsrv.thread_limits import VARIABLES
from tests.conftest import StartServer
from tests.servers import RunningServer

pytestmark = pytest.mark.process

# Tells the variables as they are when it is imported, and with how many threads NumPy's BLAS came up.
SCRIPT = """
import os
SEEN = {name: value for name, value in os.environ.items() if name.endswith("_THREADS") and name != "WORKER_THREADS"}
import numpy
from threadpoolctl import threadpool_info

def init():
    pass

def run(data):
    return {"variables": SEEN, "blas": [pool["num_threads"] for pool in threadpool_info()]}
"""
# As many calls at a time as there are processors: one thread each.
MANY = {"WORKER_THREADS": str(os.cpu_count() or 1)}
LINE = "azmlinfsrv - Threads of numerical libraries are limited in each worker: "

needs_processors = pytest.mark.skipif((os.cpu_count() or 1) == 1, reason="one processor, so nothing is to be limited")


def ask(running: RunningServer) -> Any:
    """Return what the script tells."""
    response = running.client.post("/score", json={})
    assert response.status_code == 200, running.output
    return response.json()


@needs_processors
@pytest.mark.parametrize(
    "env",
    [MANY, MANY | {"WORKER_COUNT": "2"}, MANY | {"WORKER_COUNT": "2", "WORKER_PRELOAD": "true"}],
    ids=["threads", "workers", "preloaded"],
)
def test_a_script_finds_the_limits(server: StartServer, env: Mapping[str, str]) -> None:
    """The variables are there when the script is imported, NumPy's BLAS keeps to them, and one line tells of them."""
    running = server(SCRIPT, env=env)
    told = ask(running)
    assert told["variables"] == dict.fromkeys(VARIABLES, "1")
    assert set(told["blas"]) == {1}
    lines = [line for line in running.stdout.splitlines() if LINE in line]
    assert len(lines) == 1
    assert all(f"{name}=1" in lines[0] for name in VARIABLES)


@needs_processors
def test_what_the_user_has_set(server: StartServer) -> None:
    """OMP_NUM_THREADS of the user's counts for NumPy's BLAS too."""
    told = ask(server(SCRIPT, env=MANY | {"OMP_NUM_THREADS": "2"}))
    assert told["variables"] == {"OMP_NUM_THREADS": "2", "VECLIB_MAXIMUM_THREADS": "1"}
    assert set(told["blas"]) == {min(2, runnable_processors())}


def test_limits_can_be_switched_off(server: StartServer) -> None:
    """With AZMLINFSRV_THREAD_LIMITS_ENABLED=false the environment is as it was, and nothing is said."""
    running = server(SCRIPT, env=MANY | {"AZMLINFSRV_THREAD_LIMITS_ENABLED": "false"})
    assert ask(running)["variables"] == {}
    assert LINE not in running.stdout


def test_the_file_switches_them_off(server: StartServer, tmp_path: Path) -> None:
    """config.json can do so, too."""
    folder = tmp_path / "app"
    folder.mkdir()
    (folder / "score.py").write_text(SCRIPT, "utf-8")
    (folder / "config.json").write_text('{"AZMLINFSRV_THREAD_LIMITS_ENABLED": false}', "utf-8")
    assert ask(server(folder / "score.py", env=MANY))["variables"] == {}


def test_a_single_process_counts_one_worker(server: StartServer) -> None:
    """Without gunicorn there is one worker whatever WORKER_COUNT says: it may use all that the process may."""
    told = ask(server(SCRIPT, env={"AZMLINFSRV_HOSTING": "single", "WORKER_COUNT": "1024"}))
    expected = max(1, int(usable_processors()))
    assert set(told["variables"].values()) <= {str(expected)}
    if expected == os.cpu_count():
        assert told["variables"] == {}
