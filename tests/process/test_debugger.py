"""AZUREML_DEBUG_PORT: a debugger is connected before the script is loaded."""

from __future__ import annotations

import socket
from pathlib import Path

import psutil
import pytest

from tests.conftest import StartServer
from tests.servers import START_S

pytestmark = pytest.mark.process

LOADED = """
    open({!r}, "w").close()


    def init():
        pass


    def run(data):
        return data
"""


class Waiting:
    """Tells whether the worker of a server does nothing but wait: it has slept whenever it was looked at of late.

    Args:
        arbiter: process id of its parent.
    """

    def __init__(self, arbiter: int) -> None:
        (self._worker,) = psutil.Process(arbiter).children()
        self._slept = 0

    def __call__(self) -> bool:
        """Look at it once more."""
        is_asleep = self._worker.status() == psutil.STATUS_SLEEPING
        self._slept = self._slept + 1 if is_asleep else 0
        return self._slept > 50


@pytest.mark.parametrize("hosting", ["gunicorn", "single"])
def test_debugpy_is_missing(server: StartServer, tmp_path: Path, hosting: str) -> None:
    """Without debugpy the start ends with 3 and one line that says what to install."""
    hidden = tmp_path / "hidden"
    hidden.mkdir()
    (hidden / "debugpy.py").write_text('raise ModuleNotFoundError("No module named \'debugpy\'", name="debugpy")\n')
    env = {"AZUREML_DEBUG_PORT": "5678", "PYTHONPATH": str(hidden)}
    running = server(LOADED.format(str(tmp_path / "loaded")), "--hosting", hosting, env=env, wait=False)
    assert running.wait_exit() == 3
    (line,) = [line for line in running.output.splitlines() if "not installed" in line]
    assert "debugpy" in line and "pip install" in line
    assert "Traceback" not in running.output
    assert not (tmp_path / "loaded").exists()


def test_debugpy_connects(server: StartServer, tmp_path: Path) -> None:
    """The server connects to the port and waits for a debugger before it loads the script; a stop ends the wait."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        listener.settimeout(START_S)
        port = listener.getsockname()[1]
        env = {"AZUREML_DEBUG_PORT": str(port)}
        running = server(LOADED.format(str(tmp_path / "loaded")), env=env, wait=False)
        connection, _ = listener.accept()
        with connection:
            running.wait_until(lambda: f"Connecting to debugger at port {port}" in running.stdout)
            assert "DEBUGGING mode because AZUREML_DEBUG_PORT is set" in running.stdout
            assert not (tmp_path / "loaded").exists()
            assert running.process.poll() is None
            # What debugpy does while it connects catches everything, a stop too.
            running.wait_until(Waiting(running.process.pid))
            running.process.terminate()


@pytest.mark.parametrize("hosting", ["gunicorn", "single"])
def test_nobody_listens(server: StartServer, tmp_path: Path, hosting: str) -> None:
    """A debugger that is not there stops the start with 3, and not with a traceback of the server's own."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        env = {"AZUREML_DEBUG_PORT": str(unused.getsockname()[1])}
        running = server(LOADED.format(str(tmp_path / "loaded")), "--hosting", hosting, env=env, wait=False)
        assert running.wait_exit() == 3
    assert "in _connect_debugger" not in running.output
    assert not (tmp_path / "loaded").exists()
