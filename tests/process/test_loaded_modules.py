"""What a server loads for a script that needs nothing but JSON: memory of each worker, and time of each start."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import azmlinfsrv
from tests.conftest import StartServer
from tests.servers import RunningServer

pytestmark = pytest.mark.process

# What carries the traffic, and the script. Everything else that is not of the standard library is too much.
PACKAGES = {"azmlinfsrv", "entry_module", "gunicorn", "httptools", "orjson", "uvloop"}
# The configuration that a test gives gunicorn, what gunicorn takes where it is installed, and what Cython brings.
ALSO = ("__config__", "cython_runtime", "_cython_", "packaging", "setproctitle")
# Modules of the server for other scripts, other ways of hosting and other commands.
NOT_NEEDED = {
    "api",
    "arrays",
    "asgi",
    "child",
    "dockerfile",
    "examples",
    "health_process",
    "inference",
    "inference_app",
    "inference_body",
    "mlflow_document",
    "mlflow_folder",
    "mlflow_inputs",
    "mlflow_routes",
    "mlflow_script",
    "mlflow_signature",
    "mlflow_tensors",
    "mlflow_values",
    "server_health",
    "flask_bridge",
    "nginx",
    "nginx_cors",
    "nginx_log",
    "private_folder",
    "ray",
    "ray_arguments",
    "ray_config",
    "recipe",
    "replica",
    "scoring_thread",
    "single",
    "supervisor",
    "tensor_inputs",
    "tensor_outputs",
    "tensors",
    "typed",
}
# Of telemetry: what counts, and what answers for the modules that scripts may import.
TELEMETRY = {"board", "catalogue", "collector_names", "life", "metrics", "prometheus", "readings"}
MOST_MODULES = 80
# Parts of the standard library that take long to import, and that nothing here needs.
HEAVY_STANDARD = {
    "ctypes",
    "decimal",
    "http.server",
    "multiprocessing",
    "pydoc",
    "sqlite3",
    "unittest",
    "urllib.request",
    "xml.dom",
}

SCRIPT = """
import sys

def init():
    pass

def run(data):
    return sorted(sys.modules)
"""
# gunicorn calls this in the arbiter, once it listens.
ARBITER = """
def when_ready(server):
    import json
    import sys

    with open({path!r}, "w", encoding="utf-8") as file:
        json.dump(sorted(sys.modules), file)
"""


def in_worker(server: StartServer, _: Path) -> set[str]:
    """Return what a worker has loaded that has answered requests of every kind."""
    running = server(SCRIPT)
    for path in ("/", "/live", "/ready", "/swagger.json", "/swagger.json?version=3.1", "/docs", "/metrics", "/missing"):
        running.client.get(path)
    running.client.post("/score", content=b'{"data": [1, 2.5, "NaN", null]}')
    return answered(running)


def in_arbiter(server: StartServer, folder: Path) -> set[str]:
    """Return what the arbiter has loaded."""
    path = folder / "arbiter.json"
    (folder / "gunicorn.conf.py").write_text(ARBITER.format(path=str(path)), "utf-8")
    server(SCRIPT, cwd=folder)
    return set(json.loads(path.read_text("utf-8")))


def in_single_process(server: StartServer, _: Path) -> set[str]:
    """Return what a server without gunicorn has loaded."""
    return answered(server(SCRIPT, env={"AZMLINFSRV_HOSTING": "single"}))


def answered(running: RunningServer) -> set[str]:
    """Return what the script says is loaded."""
    return set(running.client.post("/score", json={}).json())


@pytest.fixture(scope="module")
def given() -> set[str]:
    """What an interpreter loads for itself, the hooks of other packages of the environment included."""
    command = [sys.executable, "-c", "import sys; print(*sys.modules)"]
    return set(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split())


@pytest.mark.parametrize("loaded", [in_worker, in_arbiter, in_single_process])
def test_a_plain_script_loads_little(
    server: StartServer, tmp_path: Path, given: set[str], loaded: Callable[[StartServer, Path], set[str]]
) -> None:
    """No flask, numpy, pandas, pydantic, opentelemetry, pyarrow or inference_schema: none but five small packages."""
    modules = loaded(server, tmp_path) - given
    foreign = {name.partition(".")[0] for name in modules} - sys.stdlib_module_names - PACKAGES
    assert not {name for name in foreign if not name.startswith(ALSO)}
    assert not sorted(modules & HEAVY_STANDARD)
    own = {name.removeprefix("azmlinfsrv.") for name in modules if name.startswith("azmlinfsrv.")}
    other_host = {"single"} if loaded is in_single_process else set()
    assert not own & NOT_NEEDED - other_host
    telemetry = {name.removeprefix("telemetry.") for name in own if name.startswith("telemetry.")}
    assert telemetry <= TELEMETRY
    assert 20 < len(own) <= MOST_MODULES


def test_the_lists_name_modules() -> None:
    """What is said to be left out exists, so that a module with a new name is not let in by it."""
    folder = Path(azmlinfsrv.__file__).parent
    assert {path.stem for path in folder.glob("*.py")} >= NOT_NEEDED
    assert {path.stem for path in (folder / "telemetry").glob("*.py")} >= TELEMETRY
