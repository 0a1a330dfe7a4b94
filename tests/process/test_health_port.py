"""The health port is served outside of the workers: while they start, hang and fail, and until the server ends."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from tests.conftest import StartServer
from tests.ports import ReservedPort
from tests.process.asking import PATIENCE_S, client
from tests.process.test_stuck import SOON, pid_of, stick
from tests.servers import RunningServer, is_running

pytestmark = pytest.mark.process

WAYS: dict[str, tuple[tuple[str, ...], dict[str, str]]] = {
    "gunicorn": ((), {}),
    "preload": ((), {"WORKER_PRELOAD": "true", "AZMLINFSRV_METRICS_ENABLED": "false"}),
    "single": (("--hosting", "single"), {}),
}
ways = pytest.mark.parametrize("way", WAYS)


class HealthPort:
    """The health port of a server that is started for a test."""

    def __init__(self, server: StartServer, number: int) -> None:
        self._server = server
        self.number = number

    def start(
        self, script: str | Path, way: str, env: dict[str, str] | None = None, wait: bool = True
    ) -> RunningServer:
        """Start a server."""
        arguments, variables = WAYS[way]
        variables = {"SEPERATE_HEALTH_ENDPOINT": "true", **variables, **(env or {})}
        return self._server(script, "--health_port", str(self.number), *arguments, env=variables, wait=wait)

    def get(self, target: str) -> httpx.Response:
        """Ask it."""
        return client().get(f"http://127.0.0.1:{self.number}{target}")

    def tells(self, target: str, **expected: Any) -> bool:
        """Return whether it answers, with this content among other."""
        try:
            content = self.get(target).json()
        except httpx.TransportError:
            return False
        return bool({**content, **expected} == content)

    def process(self, running: RunningServer) -> psutil.Process:
        """Return the process that serves it: the last of those that have its socket."""
        others = psutil.Process(running.process.pid).children(recursive=True)
        return [process for process in others if _has(process, self.number)][-1]


def _has(process: psutil.Process, port: int) -> bool:
    """Return whether a process has the socket that listens on a port."""
    try:
        found = process.net_connections("tcp")
    except psutil.Error:
        return False
    return any((*each.laddr, 0)[1] == port and each.status == psutil.CONN_LISTEN for each in found)


@pytest.fixture
def health(server: StartServer) -> Iterator[HealthPort]:
    """The health port."""
    with ReservedPort() as port:
        yield HealthPort(server, port.number)


@ways
def test_while_init_runs(health: HealthPort, tmp_path: Path, way: str) -> None:
    """While `init()` runs, `/live` is 200, `/ready` and `/` are 503 with the reason; then all are content.

    So are those under `/v2`.
    """
    go = tmp_path / "go"
    script = f"""
        import os
        import time


        def init():
            while not os.path.exists({str(go)!r}):
                time.sleep(0.01)


        def run(data):
            return data
    """
    running = health.start(script, way, {"AZMLINFSRV_V2_ENABLED": "true"}, wait=False)
    running.wait_until(lambda: health.tells("/ready", status="not ready", reason="starting"))
    assert health.get("/live").json() == {"status": "live"}
    assert health.get("/v2/health/live").json() == {"live": True}
    inference = health.get("/v2/health/ready")
    assert (inference.status_code, inference.json()) == (503, {"error": "The server is not ready: starting"})
    root = health.get("/")
    assert (root.status_code, root.json()["reason"]) == (503, "starting")
    go.touch()
    running.wait_until(lambda: health.tells("/ready", status="ready"))
    assert health.get("/").text == "Healthy"
    assert health.get("/v2/health/ready").json() == {"ready": True}
    assert health.get("/metrics").status_code == (404 if way == "preload" else 200)
    assert health.get("/score").status_code == 404
    running.process.send_signal(signal.SIGTERM)
    assert running.wait_exit() == 0
    with pytest.raises(httpx.TransportError):
        health.get("/live")


@ways
def test_the_cause_of_a_failed_start(health: HealthPort, way: str) -> None:
    """After `init()` has raised, the end of its traceback can be read, until a stop; the exit code is 3."""
    script = """
        def init():
            model = {}
            return model["weights"]


        def run(data):
            return data
    """
    running = health.start(script, way, {"AZMLINFSRV_FAILED_START_HOLD_MS": "600000"}, wait=False)
    running.wait_until(lambda: health.tells("/ready", status="not ready", reason="failed"))
    cause = health.get("/ready").json()["cause"]
    assert 'return model["weights"]' in cause and cause.endswith("KeyError: 'weights'")
    assert health.get("/live").status_code == health.get("/").status_code == 503
    running.wait_until(lambda: "tells the cause" in running.stdout)
    running.process.send_signal(signal.SIGTERM)
    assert running.wait_exit() == 3


def test_a_failed_start_ends_by_itself(health: HealthPort) -> None:
    """The cause can be read for a time; then the server ends with 3, as without a health port."""
    running = health.start("import nothing", "gunicorn", {"AZMLINFSRV_FAILED_START_HOLD_MS": "1"}, wait=False)
    assert running.wait_exit() == 3


@pytest.mark.skipif(sys.platform != "linux", reason="a mutex of the C library is what is stuck")
@pytest.mark.parametrize("way", ["gunicorn", "preload"])
def test_a_held_interpreter_lock(health: HealthPort, scripts: Path, tmp_path: Path, way: str) -> None:
    """The port answers while native code holds the lock; the worker is ended, with its stack, and another serves."""
    running = health.start(scripts / "stuck.py", way, SOON)
    before = pid_of(running)
    answer = stick(running, tmp_path, holds_lock=True)
    assert health.get("/live").status_code in (200, 503)
    assert isinstance(answer.exception(PATIENCE_S), httpx.TransportError)
    assert pid_of(running) != before
    assert f"pid {before} has been silent" in running.stdout
    running.wait_until(lambda: health.tells("/ready", status="ready"))
    assert "in lock_twice" in running.stderr


@pytest.mark.skipif(sys.platform != "linux", reason="a mutex of the C library is what is stuck")
def test_a_held_interpreter_lock_of_a_single_process(health: HealthPort, scripts: Path, tmp_path: Path) -> None:
    """The health process ends a single process that holds the lock for too long, and ends with it."""
    running = health.start(scripts / "stuck.py", "single", SOON)
    stick(running, tmp_path, holds_lock=True)
    assert running.wait_exit() in (-signal.SIGABRT, -signal.SIGKILL)
    assert "has been silent" in running.stdout


@ways
def test_a_killed_health_process_is_started_again(health: HealthPort, scripts: Path, way: str) -> None:
    """After kill -9 of the process that serves the port another serves it."""
    running = health.start(scripts / "steps.py", way)
    running.wait_until(lambda: health.tells("/ready", status="ready"))
    before = health.process(running)
    assert before.pid != running.process.pid
    before.kill()
    running.wait_until(lambda: not is_running(before))
    running.wait_until(lambda: health.tells("/ready", status="ready"))
    assert health.process(running).pid != before.pid
    assert running.process.poll() is None


@ways
def test_it_ends_with_a_server_that_is_killed(health: HealthPort, scripts: Path, way: str) -> None:
    """After kill -9 of the server nobody listens on the health port any more."""
    running = health.start(scripts / "steps.py", way)
    running.wait_until(lambda: health.tells("/ready", status="ready"))
    os.kill(running.process.pid, signal.SIGKILL)
    running.process.wait(PATIENCE_S)
    end = time.monotonic() + PATIENCE_S
    while health.tells("/live", status="live") or health.tells("/live", status="not live"):
        assert time.monotonic() < end, "the health port outlives its server"
