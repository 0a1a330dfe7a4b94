"""Containers that are really run, by buildah, each with a network of its own."""

from __future__ import annotations

import ctypes
import json
import os
import signal
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import psutil

from tests.conftest import PROJECT
from tests.servers import STOP_S, RunningServer, server_environment

BUILDAH = str(PROJECT / "scripts" / "buildah")
PATIENCE_S = 30.0
# Only the loopback interface, which starts switched off.
_IN_A_NETWORK = ("unshare", "--net", "sh", "-c", 'ip link set lo up && exec "$@"', "-")
_CLONE_NEWNET = 0x40000000


def buildah(*arguments: str) -> str:
    """Run buildah, and return what it prints."""
    result = subprocess.run([BUILDAH, *arguments], check=False, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return result.stdout.strip()


class Image:
    """An image and a container of it, whose files all that is run of it share.

    Args:
        name: its name.

    Attributes:
        name: its name.
        config: its configuration, as Docker spells it.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        inspected = json.loads(buildah("inspect", "--type", "image", name))
        self.config: dict[str, Any] = inspected["Docker"]["config"]
        self._container = buildah("from", name)

    def command(
        self,
        arguments: Sequence[str],
        env: Mapping[str, str] | None = None,
        volumes: Mapping[Path, str] | None = None,
    ) -> list[str]:
        """Return the command that runs another in the image.

        Args:
            arguments: the command.
            env: more variables.
            volumes: folders, and where they are in the container.
        """
        options = [f"--env={name}={value}" for name, value in (env or {}).items()]
        options += [f"--volume={folder}:{place}" for folder, place in (volumes or {}).items()]
        return [BUILDAH, "run", "--isolation", "chroot", *options, self._container, "--", *arguments]

    def run(
        self, *arguments: str, env: Mapping[str, str] | None = None, volumes: Mapping[Path, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run a command in the image, in a network of its own, to its end.

        What it prints goes to files: buildah may lose the end of what goes through its pipes.
        """
        with tempfile.TemporaryDirectory() as name:
            output = Path(name)
            output.chmod(0o777)
            shell = ["sh", "-c", 'exec "$@" >/output/stdout 2>/output/stderr', "-", *arguments]
            command = self.command(shell, env, {**(volumes or {}), output: "/output"})
            ended = subprocess.run([*_IN_A_NETWORK, *command], check=False, capture_output=True, timeout=PATIENCE_S)
            stdout, stderr = (
                path.read_text("utf-8", "backslashreplace") if path.exists() else ""
                for path in (output / "stdout", output / "stderr")
            )
            return subprocess.CompletedProcess(command, ended.returncode, stdout, stderr)

    def serve(self, *arguments: str, folder: Path, **given: Any) -> Container:
        """Run the image as it is meant to be run: its entry point with these arguments."""
        command = self.command([*self.config["Entrypoint"], *arguments], **given)
        return Container(self, command, folder)

    def remove(self) -> None:
        """Remove the container; the image stays."""
        buildah("rm", self._container)


class _Network(httpx.BaseTransport):
    """Sends requests from within the network of a process."""

    def __init__(self, pid: int) -> None:
        self._transport = httpx.HTTPTransport()
        self._pool = ThreadPoolExecutor(8, initializer=_enter_network, initargs=(pid,))

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Send it in a thread that is in that network: an open connection stays there."""
        return self._pool.submit(self._transport.handle_request, request).result()

    def close(self) -> None:
        """Close the connections, and end the threads."""
        self._transport.close()
        self._pool.shutdown()


def _enter_network(pid: int) -> None:
    descriptor = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY)
    try:
        if ctypes.CDLL(None, use_errno=True).setns(descriptor, _CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), "the network of the container cannot be entered")
    finally:
        os.close(descriptor)


class Container(RunningServer):
    """A container that serves on its own port 5001.

    Args:
        image: what it is of.
        command: what runs it.
        folder: where its output is kept.

    Attributes:
        image: what it is of.
        inner: a client of the server behind nginx.
    """

    def __init__(self, image: Image, command: Sequence[str], folder: Path) -> None:
        super().__init__([*_IN_A_NETWORK, *command], 5001, folder, server_environment({}))
        self.image = image
        own = os.readlink("/proc/self/ns/net")
        self.wait_until(lambda: os.readlink(f"/proc/{self.process.pid}/ns/net") != own)
        self.client.close()
        network = _Network(self.process.pid)
        self.client = httpx.Client(base_url=self.url, transport=network, timeout=PATIENCE_S)
        self.inner = httpx.Client(base_url="http://127.0.0.1:31311", transport=network, timeout=PATIENCE_S)

    def ask(self, do: str, **arguments: Any) -> Any:
        """Return the JSON value of a successful answer of `inside.py`."""
        response = self.client.post("/score", content=json.dumps({"do": do, **arguments}))
        assert response.status_code == 200, f"{response.text}\n{self.output}"
        return response.json()

    def check_health(self) -> int:
        """Run the image's HEALTHCHECK in this container's network, and return its exit code."""
        kind, *command = self.image.config["Healthcheck"]["Test"]
        assert kind == "CMD"
        entered = ["nsenter", "--net", "--target", str(self.process.pid), *self.image.command(command)]
        return subprocess.run(entered, check=False, capture_output=True, timeout=PATIENCE_S).returncode

    def processes(self, name: str = "") -> list[psutil.Process]:
        """Return the processes of the container, or those with a name; the first is its init."""
        everything = psutil.Process(self.process.pid).children(recursive=True)
        (init,) = [process for process in everything if _name(process) == "tini"]
        inside = [init, *init.children(recursive=True)]
        return [process for process in inside if _name(process) == name] if name else inside

    def stop(self, signal_number: int = signal.SIGTERM) -> int:
        """Signal its init, as a container is stopped, wait for all of its processes, and return its exit code.

        Raises:
            AssertionError: something was left running; it has been killed.
        """
        left: list[psutil.Process] = []
        if self.process.poll() is None:
            inside = self.processes()
            inside[0].send_signal(signal_number)
            _, left = psutil.wait_procs(inside, timeout=PATIENCE_S)
            for process in left:
                process.kill()
        code = self.process.wait(STOP_S)
        self.client.close()
        assert not left, f"left running: {left}\n{self.output}"
        return code


def _name(process: psutil.Process) -> str:
    try:
        return process.name()
    except psutil.NoSuchProcess:
        return ""
