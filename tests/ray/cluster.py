"""A Ray cluster of this machine, with Serve, for tests and measurements; all its processes end with it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import psutil

from tests.kept import CACHE, kept_environment
from tests.ports import ReservedPort

if TYPE_CHECKING:
    from typing_extensions import Self

PROJECT = Path(__file__).resolve().parents[2]
RAY = "ray[serve]==2.60.0"
START_S = 90.0
STOP_S = 5.0
PATIENCE_S = 90.0
POLL_S = 0.1
BUILD = "azmlinfsrv.ray:build"
Details = dict[str, Any]


def programs() -> Path:
    """Return the folder of the programs of an environment with Ray and this project; made where it is not there yet."""
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    folder = CACHE / f"ray-2.60.0-py{python}-mlflow"
    schemas = "inference-schema[numpy-support,pandas-support]"
    listed = ["--editable", str(PROJECT), RAY, schemas, "mlflow-skinny", "pillow"]
    return kept_environment(folder, listed)


def application(name: str, *, env: Mapping[str, str] | None = None, **arguments: Any) -> dict[str, Any]:
    """Return an application as Serve's configuration has it, below a path of its own name.

    Args:
        name: its name.
        env: environment variables of its replicas.
        **arguments: arguments of the builder.
    """
    return {
        "name": name,
        "route_prefix": f"/{name}",
        "import_path": BUILD,
        "runtime_env": {"env_vars": dict(env or {})},
        "args": {"num_cpus": 0.1, **arguments},
    }


class Cluster:
    """A head node that listens on 127.0.0.1. Use it as a context manager.

    Attributes:
        address: where the applications are.
        dashboard: address of the dashboard, to which `serve` talks.
        programs: folder of `ray` and `serve`.
        folder: a folder of its own, which is removed in the end.
    """

    def __init__(self, programs: Path) -> None:
        self.programs = programs
        self.folder = Path(tempfile.mkdtemp(prefix="ray-"))  # short: sockets are in it
        ports = [ReservedPort() for _ in range(6)]
        head, dashboard, agent, client, metrics, http = (port.number for port in ports)
        for port in ports:
            port.__exit__()
        self.address, self.dashboard = f"http://127.0.0.1:{http}", f"http://127.0.0.1:{dashboard}"
        self.port = http
        self._applications: dict[str, dict[str, Any]] = {}
        self._client = httpx.Client(base_url=self.dashboard, timeout=START_S, trust_env=False)
        options = {
            "--node-ip-address": "127.0.0.1",
            "--port": head,
            "--dashboard-host": "127.0.0.1",
            "--dashboard-port": dashboard,
            "--dashboard-agent-listen-port": agent,
            "--ray-client-server-port": client,
            "--metrics-export-port": metrics,
            "--min-worker-port": 0,
            "--max-worker-port": 0,
            "--num-cpus": 4,
            "--temp-dir": self.folder / "ray",
        }
        command = [programs / "ray", "start", "--head", "--block", "--disable-usage-stats"]
        with (self.folder / "head.log").open("wb") as log:
            self._head = subprocess.Popen(
                [*map(str, command), *(str(each) for pair in options.items() for each in pair)],
                env=self.environment(),
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def __enter__(self) -> Self:
        """Wait until Serve can be talked to.

        Raises:
            TimeoutError: it cannot.
        """
        try:
            self._wait(self._is_up, START_S, "the cluster does not start")
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        """End every process of it."""
        self.stop()

    def environment(self) -> dict[str, str]:
        """Return the environment of its programs: nothing is told to anybody, and nobody's home is read."""
        return {
            "PATH": f"{self.programs}:{os.defpath}",
            "HOME": str(self.folder),
            "LANG": "C.UTF-8",
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_AUTH_MODE": "disabled",  # only this machine can talk to it
            "RAY_ADDRESS": "auto",
            "RAY_DASHBOARD_ADDRESS": self.dashboard,
            "PYTHONDONTWRITEBYTECODE": "1",
        }

    def stop(self) -> None:
        """End every process of it."""
        mine = self.processes()
        self._head.send_signal(signal.SIGTERM)
        try:
            self._head.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self._head.kill()
            self._head.wait()
        _, left = psutil.wait_procs(mine, STOP_S)
        for process in left:
            process.kill()
        psutil.wait_procs(left, STOP_S)
        self._client.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def processes(self) -> list[psutil.Process]:
        """Return the processes that the head node has started."""
        try:
            return psutil.Process(self._head.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            return []

    def deploy(self, *applications: dict[str, Any]) -> None:
        """Deploy applications, beside those that are there."""
        self._applications.update({each["name"]: each for each in applications})
        self._put()

    def remove(self, *names: str) -> None:
        """Remove applications, and wait until they are gone."""
        for name in names:
            self._applications.pop(name, None)
        self._put()
        self._wait(lambda: not {*names} & self.details().keys(), PATIENCE_S, f"{names} do not go")

    def details(self) -> dict[str, Details]:
        """Return what Serve says of each application."""
        answer = self._client.get("/api/serve/applications/")
        found: dict[str, Details] = answer.raise_for_status().json()["applications"]
        return found

    def deployment(self, name: str) -> Details:
        """Return what Serve says of an application's deployment; empty where it has none yet."""
        deployments: dict[str, Details] = self.details().get(name, {}).get("deployments", {})
        return deployments.get("scoring", {})

    def pids(self, name: str) -> list[int]:
        """Return the processes of the replicas that serve an application."""
        return [each["pid"] for each in self.deployment(name).get("replicas", []) if each["state"] == "RUNNING"]

    def status(self, name: str) -> str:
        """Return Serve's word for how an application is."""
        return str(self.details().get(name, {}).get("status", ""))

    def messages(self, name: str) -> str:
        """Return all that Serve says of an application and its deployment in words."""
        return f"{self.details().get(name, {}).get('message', '')}\n{self.deployment(name).get('message', '')}"

    def wait_running(self, name: str) -> None:
        """Wait until an application serves, as it was deployed last.

        Raises:
            TimeoutError: it does not; with Serve's message.
        """

        def is_running() -> bool:
            status = self.status(name)
            if status == "DEPLOY_FAILED":
                raise TimeoutError(self.messages(name))
            return status == "RUNNING"

        self.wait(is_running, f"{name} does not run")

    def wait(self, is_so: Callable[[], object], what: str) -> None:
        """Wait until something is so.

        Raises:
            TimeoutError: it is not.
        """
        self._wait(is_so, PATIENCE_S, what)

    def serve(self, *arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
        """Run the program `serve`, or another one of the environment."""
        program, *rest = arguments
        return subprocess.run(
            [str(self.programs / program), *rest],
            env=self.environment(),
            cwd=cwd or self.folder,
            check=False,
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
        )

    def _put(self) -> None:
        config = {
            "proxy_location": "HeadOnly",
            "http_options": {"host": "127.0.0.1", "port": self.port},
            "applications": list(self._applications.values()),
        }
        answer = self._client.put("/api/serve/applications/", json=config)
        if answer.is_error:
            raise ValueError(answer.text)

    def _is_up(self) -> bool:
        if self._head.poll() is not None:
            raise TimeoutError((self.folder / "head.log").read_text("utf-8", "replace"))
        try:
            return self._client.get("/api/serve/applications/").status_code == 200
        except httpx.HTTPError:
            return False

    def _wait(self, is_so: Callable[[], object], within_s: float, what: str) -> None:
        end = time.monotonic() + within_s
        while not is_so():
            if time.monotonic() > end:
                raise TimeoutError(what)
            time.sleep(POLL_S)
