"""Real servers in processes of their own, for the tests that need one."""

from __future__ import annotations

import functools
import os
import signal
import ssl
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO

import httpx
import psutil

START_S = 20.0
STOP_S = 40.0  # longer than the graceful timeout
POLL_S = 0.02
_KEPT_VARIABLES = ("PATH", "HOME", "TMPDIR", "LANG", "LC_ALL")


def server_environment(extra: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of a server: of this process's, what any program needs; then `extra`."""
    return {name: os.environ[name] for name in _KEPT_VARIABLES if name in os.environ} | dict(extra)


@functools.cache
def no_certificates() -> ssl.SSLContext:
    """Return what spares a client of servers without TLS to read the system's certificates, which is slow."""
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


class RunningServer:
    """A server process, its output and a client.

    Args:
        command: the program and its arguments.
        port: the port that it is told to listen on.
        folder: where its output is kept, as `stdout` and `stderr`, and what it runs in unless `cwd` is given.
        env: its whole environment.
        cwd: its working directory.

    Attributes:
        port: the port that it listens on.
        process: the process that was started: the arbiter, where there are workers.
        client: an HTTP client of the server, closed by `stop`.
    """

    def __init__(
        self, command: Sequence[str], port: int, folder: Path, env: Mapping[str, str], cwd: Path | None = None
    ) -> None:
        self.port = port
        self._stdout, self._stderr = folder / "stdout", folder / "stderr"
        with self._stdout.open("wb") as stdout, self._stderr.open("wb") as stderr:
            self.process = _spawn(command, cwd or folder, env, stdout, stderr)
        self.client = httpx.Client(
            base_url=f"http://127.0.0.1:{port}", timeout=START_S, trust_env=False, verify=no_certificates()
        )

    @property
    def url(self) -> str:
        """The server's address, without a slash at its end."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def stdout(self) -> str:
        """What it has written to its standard output so far."""
        return self._stdout.read_text("utf-8", "backslashreplace")

    @property
    def stderr(self) -> str:
        """What it has written to its standard error so far."""
        return self._stderr.read_text("utf-8", "backslashreplace")

    @property
    def output(self) -> str:
        """Both, for messages of failed tests."""
        return f"--- stdout\n{self.stdout}\n--- stderr\n{self.stderr}"

    def wait_until(self, condition: Callable[[], object], within_s: float = START_S) -> None:
        """Wait until the condition holds; fail when the process ends first, or after `within_s` seconds."""
        for _ in range(int(within_s / POLL_S)):
            if condition():
                return
            try:
                code = self.process.wait(POLL_S)
            except subprocess.TimeoutExpired:
                continue
            assert condition(), f"the server ended with code {code} before the condition held\n{self.output}"
            return
        raise AssertionError(f"the condition did not hold within {within_s} s\n{self.output}")

    def wait_ready(self, within_s: float = START_S) -> None:
        """Wait until `GET /` is answered with 200."""
        self.wait_until(self._is_ready, within_s)

    def _is_ready(self) -> bool:
        try:
            return self.client.get("/").status_code == httpx.codes.OK
        except httpx.TransportError:
            return False

    def wait_exit(self, within_s: float = START_S) -> int:
        """Return the exit code of a server that ends by itself; negative: the signal that ended it."""
        try:
            return self.process.wait(within_s)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"the server still runs after {within_s} s\n{self.output}") from None

    def stop(self, signal_number: int = signal.SIGTERM) -> int:
        """Signal the server, wait until it and everything it started is gone, and return its exit code.

        Raises:
            AssertionError: something was left running; it has been killed.
        """
        self.client.close()
        others = self._others()
        left: list[object] = []
        if self.process.poll() is None:
            self.process.send_signal(signal_number)
        try:
            code = self.process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            left.append(self.process.pid)
            self.process.kill()
            code = self.process.wait()
        _, alive = psutil.wait_procs(others, timeout=STOP_S)
        for process in filter(is_running, alive):
            left.append(process)
            process.kill()
        assert not left, f"left running {STOP_S} s after signal {signal_number}: {left}\n{self.output}"
        return code

    def _others(self) -> list[psutil.Process]:
        """Return the other processes of the server's session, which it leads: orphans are in it too."""
        leader = self.process.pid
        return [other for other in psutil.process_iter() if other.pid != leader and _session(other.pid) == leader]


def is_running(process: psutil.Process) -> bool:
    """Return whether a process is more than an entry that its parent has not collected."""
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _session(pid: int) -> int | None:
    try:
        return os.getsid(pid)
    except (ProcessLookupError, PermissionError):
        return None


def _spawn(
    command: Sequence[str], cwd: Path, env: Mapping[str, str], stdout: IO[bytes], stderr: IO[bytes]
) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        command,
        cwd=cwd,
        env=dict(env),
        stdin=subprocess.DEVNULL,
        stdout=stdout,
        stderr=stderr,
        start_new_session=True,
    )


def server_command(script: Path | None, port: int, args: Sequence[str]) -> list[str]:
    """Return the command of this interpreter's server; without a script, `args` say what to serve."""
    entry = [] if script is None else ["--entry_script", str(script)]
    return [sys.executable, "-m", "azmlinfsrv", *entry, "--port", str(port), *args]
