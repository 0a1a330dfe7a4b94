"""A system that serves: from its start to its end."""

from __future__ import annotations

import contextlib
import http.client
import os
import re
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from typing import NamedTuple

from comparison.catalogue import CACHE, Setup
from comparison.environments import last_line
from comparison.processes import Tree
from comparison.works import Body

PATIENCE_S = 90.0


class StartError(Exception):
    """A system does not serve; the message says why."""


class Server(NamedTuple):
    """A system that serves.

    Attributes:
        setup: how it was started.
        tree: its processes.
        port: where it listens.
        start_s: from the start of its command to the first answer of 200 to a probe.
        body: what it is sent.
    """

    setup: Setup
    tree: Tree
    port: int
    start_s: float
    body: Body

    @property
    def name(self) -> str:
        """The name of the system."""
        return self.setup.system.name

    @property
    def path(self) -> str:
        """Where the work is asked for."""
        return str(self.setup.table["path"])

    def answer(self) -> tuple[int, bytes]:
        """Return status and body of one answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        with contextlib.closing(connection):
            connection.request("POST", self.path, self.body.content, {"Content-Type": self.body.content_type})
            response = connection.getresponse()
            return response.status, response.read()

    def check(self) -> None:
        """See that it does the work.

        Raises:
            StartError: it does not.
        """
        status, got = self.answer()
        text = re.sub(r"\s+", "", got.decode("utf-8", "replace"))
        if status != 200 or not re.search(self.body.expect, text):
            raise StartError(f"it answers {status}: {text[:300]}")


@contextlib.contextmanager
def serving(setup: Setup, body: Body) -> Iterator[Server]:
    """Run a system, its log on a file, from its first answer to its end.

    Raises:
        StartError: it does not serve.
    """
    if "module" in setup.table and not has_module(setup):
        raise StartError(f"has no module {setup.table['module']}")
    state = CACHE / "state" / f"{setup.system.name}-{setup.work}"
    shutil.rmtree(state, ignore_errors=True)
    state.mkdir(parents=True)
    ports = free_ports()
    names = setup.names(ports, state, os.environ["PATH"])
    for name, text in setup.system.table.get("files", {}).items():
        (state / name.format_map(names)).write_text(text.format_map(names), "utf-8")
    own = {name: value.format_map(names) for name, value in setup.environment().items()}
    with (state / "server.log").open("wb") as log:
        env = os.environ | {"BENCH_MODELS": names["models"]} | own

        def start(command: list[str]) -> subprocess.Popen[bytes]:
            filled = [part.format_map(names) for part in command]
            return subprocess.Popen(filled, stdout=log, stderr=log, cwd=setup.system.folder, env=env)

        if "prepare" in setup.table and start(setup.table["prepare"]).wait():
            raise StartError(last_line((state / "server.log").read_text("utf-8", "replace")))
        begun = time.perf_counter()
        process = start(setup.table["command"])
        tree = Tree(process)
        try:
            while not is_healthy(ports[0], setup.table["health"]):
                if process.poll() is not None or time.perf_counter() - begun > PATIENCE_S:
                    raise StartError(last_line((state / "server.log").read_text("utf-8", "replace")))
                time.sleep(0.005)
            yield Server(setup, tree, ports[0], time.perf_counter() - begun, body)
        finally:
            tree.end(signal.Signals[f"SIG{setup.table['stop']}"])


def has_module(setup: Setup) -> bool:
    """Return whether the environment has the module that the work needs."""
    command = [str(setup.system.python), "-c", f"import {setup.table['module']}"]
    return subprocess.run(command, check=False, capture_output=True).returncode == 0


def is_healthy(port: int, path: str) -> bool:
    """Return whether a probe is answered with 200."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    with contextlib.closing(connection), contextlib.suppress(OSError, http.client.HTTPException):
        connection.request("GET", path)
        return connection.getresponse().status == 200
    return False


def free_ports() -> tuple[int, int, int]:
    """Return three ports that nothing listens on."""
    with socket.socket() as one, socket.socket() as two, socket.socket() as three:
        for sock in (one, two, three):
            sock.bind(("127.0.0.1", 0))
        return one.getsockname()[1], two.getsockname()[1], three.getsockname()[1]
