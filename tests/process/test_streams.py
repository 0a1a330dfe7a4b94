"""Streams of a real server: chunk by chunk, slow clients, and memory."""

from __future__ import annotations

import json
import socket
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.conftest import StartServer
from tests.process.asking import PATIENCE_S, client
from tests.process.conftest import SharedServer
from tests.servers import RunningServer

pytestmark = pytest.mark.process

MB = 1_000_000


def worker(server: RunningServer) -> psutil.Process:
    """Return the process that scores."""
    process = psutil.Process(server.process.pid)
    return next(iter(process.children()), process)


@pytest.mark.parametrize("hosting", ["gunicorn", "single"])
def test_chunks_arrive_as_they_are_made(shared_server: SharedServer, tmp_path: Path, hosting: str) -> None:
    """A client sees the first chunk before the script makes the second: it is the client that lets it."""
    running = shared_server("streams.py", "--hosting", hosting)
    go = tmp_path / "go"
    with client().stream("POST", f"{running.url}/score", params={"go": str(go)}) as response:
        assert response.headers["transfer-encoding"] == "chunked"
        chunks = response.iter_raw()
        assert next(chunks) == b"first"
        go.touch()
        assert b"".join(chunks) == b"second"


@pytest.mark.parametrize("hosting", ["gunicorn", "single"])
def test_an_async_generator(shared_server: SharedServer, tmp_path: Path, hosting: str) -> None:
    """An async generator streams the same, and other requests are answered meanwhile."""
    running = shared_server("async_streams.py", "--hosting", hosting)
    go = tmp_path / "go"
    with client().stream("POST", f"{running.url}/score", content=json.dumps({"go": str(go)})) as response:
        chunks = response.iter_raw()
        assert next(chunks) == b"first"
        assert client().post(f"{running.url}/score", content="{}").text == "at once"
        go.touch()
        assert b"".join(chunks) == b"second"


def open_endless(server: RunningServer, closed: Path) -> socket.socket:
    """Return a connection whose answer has no end and of which only the beginning has been read."""
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
    connection.settimeout(PATIENCE_S)
    connection.connect(("127.0.0.1", server.port))
    connection.sendall(f"GET /score?closed={closed} HTTP/1.1\r\nHost: t\r\n\r\n".encode())
    assert connection.recv(1000).startswith(b"HTTP/1.1 200 ")
    return connection


def test_a_slow_client_blocks_no_probe(server: StartServer, scripts: Path, tmp_path: Path) -> None:
    """While a client reads nothing of its stream, probes are answered and memory does not grow."""
    running = server(scripts / "streams.py")
    before = worker(running).memory_info().rss
    closed = tmp_path / "closed"
    with open_endless(running, closed):
        for _ in range(20):
            assert client().get(f"{running.url}/").text == "Healthy"
        assert worker(running).memory_info().rss - before < 30 * MB
        assert not closed.exists()
    running.wait_until(closed.exists)
    assert client().post(f"{running.url}/score", content=b"12345").json() == 5


def test_a_client_that_reads_nothing_is_cut_off(server: StartServer, scripts: Path, tmp_path: Path) -> None:
    """The write timeout ends a stream that nobody reads, and the next request is scored."""
    running = server(scripts / "streams.py", env={"AZMLINFSRV_WRITE_TIMEOUT_MS": "500"})
    closed = tmp_path / "closed"
    with open_endless(running, closed):
        running.wait_until(closed.exists)
    assert client().post(f"{running.url}/score", content=b"12345").json() == 5


# -- memory ----------------------------------------------------------------------------------------------------


def peak_bytes(pid: int) -> int:
    """Return the most memory that a process has had since its peak was reset."""
    with open(f"/proc/{pid}/status", encoding="ascii") as status:
        (line,) = [line for line in status if line.startswith("VmHWM:")]
    return int(line.split()[1]) * 1024


def reset_peak(pid: int) -> int:
    """Start measuring the peak of a process anew, and return its memory of now."""
    with open(f"/proc/{pid}/clear_refs", "w", encoding="ascii") as file:
        file.write("5")
    return peak_bytes(pid)


@pytest.mark.skipif(sys.platform != "linux", reason="the peak of a process is measured by Linux")
@pytest.mark.parametrize(("script", "chunked"), [("streams.py", False), ("streams.py", True), ("steps.py", False)])
def test_memory_of_uploads(server: StartServer, scripts: Path, script: str, chunked: bool) -> None:
    """A worker needs at most two and a half times the size of an upload, also for the third, and gives it back.

    It does so at once, while the connection stays open.
    How much of the memory of small pieces the allocator can return depends on their sizes: what must not stay is an
    upload.
    """
    small = b'{"do": "pid"}'
    content = small + b" " * (50 * MB - len(small))

    def pieces() -> Iterator[bytes]:
        for start in range(0, len(content), MB):
            yield content[start : start + MB]

    running = server(scripts / script)
    pid = worker(running).pid
    expected = {small: client().post(f"{running.url}/score", content=small).json(), content: len(content)}
    if script == "steps.py":
        expected[content] = pid
    before = reset_peak(pid)
    for _ in range(3):
        upload = running.client.post("/score", content=pieces() if chunked else content)
        assert upload.json() == expected[content]
    assert client().post(f"{running.url}/score", content=small).json() == expected[small]
    peak, after = peak_bytes(pid) - before, worker(running).memory_info().rss - before
    assert (peak < 2.5 * len(content), after < 0.9 * len(content)) == (True, True), f"{peak=:,} {after=:,}"


def test_probes_during_an_upload(server: StartServer, scripts: Path) -> None:
    """A slow upload blocks nobody: others are answered between its pieces."""
    running = server(scripts / "streams.py")
    answered = threading.Event()

    def pieces() -> Iterator[bytes]:
        yield b"x" * 1000
        assert client().get(f"{running.url}/").text == "Healthy"
        assert client().post(f"{running.url}/score", content=b"12").json() == 2
        answered.set()
        yield b"x" * 1000

    assert running.client.post("/score", content=pieces()).json() == 2000
    assert answered.is_set()
