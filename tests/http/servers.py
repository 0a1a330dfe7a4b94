"""Starts the servers that the table is played against, each as a process of its own on a free port."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from tests.http.case import (
    BODY_TIMEOUT_MS,
    HEADER_TIMEOUT_MS,
    KEEP_ALIVE_TIMEOUT_MS,
    MAX_BODY_BYTES,
    MAX_HEADER_BYTES,
    REQUEST_TIMEOUT_MS,
    WRITE_TIMEOUT_MS,
)
from tests.ports import ReservedPort
from tests.servers import RunningServer, server_command, server_environment

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

HERE = Path(__file__).parent
SCRIPT = HERE / "echo_score.py"
LIMITS = {
    "AZMLINFSRV_HOST": "127.0.0.1",
    "AZMLINFSRV_MAX_BODY_BYTES": str(MAX_BODY_BYTES),
    "AZMLINFSRV_MAX_HEADER_BYTES": str(MAX_HEADER_BYTES),
    "AZMLINFSRV_HEADER_TIMEOUT_MS": str(HEADER_TIMEOUT_MS),
    "AZMLINFSRV_BODY_TIMEOUT_MS": str(BODY_TIMEOUT_MS),
    "AZMLINFSRV_REQUEST_TIMEOUT_MS": str(REQUEST_TIMEOUT_MS),
    "AZMLINFSRV_KEEP_ALIVE_TIMEOUT_MS": str(KEEP_ALIVE_TIMEOUT_MS),
    "AZMLINFSRV_WRITE_TIMEOUT_MS": str(WRITE_TIMEOUT_MS),
    # A case's client that has ended its side still reads, however slow the machine is.
    "AZMLINFSRV_HALF_CLOSE_TIMEOUT_MS": "0",
}
# What asyncio and the interpreter write when a callback of the server fails; no case may cause it.
BREAKDOWNS = ("Exception in callback", "was never retrieved", "Exception in thread", "Exception ignored in")


@contextlib.contextmanager
def serving(command: Sequence[str], port: int, folder: Path) -> Iterator[tuple[str, int]]:
    """Run a server, wait until it is ready, yield its address, and stop it.

    Raises:
        AssertionError: the server was not ready in time, left processes behind, or its I/O broke down.
    """
    server = RunningServer(command, port, folder, server_environment(LIMITS))
    try:
        server.wait_ready()
        server.client.close()
        yield "127.0.0.1", port
    finally:
        server.stop()
    output = server.output
    assert not any(words in output for words in BREAKDOWNS), output[-10_000:]


@contextlib.contextmanager
def own_server(folder: Path, *arguments: str) -> Iterator[tuple[str, int]]:
    """Run the server under test with its own protocol class."""
    with ReservedPort() as port:
        command = server_command(SCRIPT, port.number, arguments)
        with serving(command, port.number, folder) as address:
            yield address


@contextlib.contextmanager
def asgi_server(folder: Path) -> Iterator[tuple[str, int]]:
    """Run the ASGI adapter of the same application under uvicorn."""
    with ReservedPort() as port:
        command = [sys.executable, str(HERE / "asgi_main.py"), str(SCRIPT), str(port.number)]
        with serving(command, port.number, folder) as address:
            yield address
