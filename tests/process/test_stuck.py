"""`run()` that is stuck in native code: its client is answered, and the service is back."""

from __future__ import annotations

import json
import signal
import socket
import sys
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from azmlinfsrv.stuck_watch import STUCK_EXIT
from tests.conftest import StartServer
from tests.process.asking import PATIENCE_S, client, post
from tests.servers import RunningServer

pytestmark = [
    pytest.mark.process,
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="a mutex of the C library is what is stuck"),
]

SOON = {"SCORING_TIMEOUT_MS": "300", "AZMLINFSRV_STUCK_GRACE_MS": "300"}


def pid_of(server: RunningServer) -> int:
    """Return the process that answers, once one does."""
    pids: list[int] = []

    def answers() -> bool:
        try:
            response = post(server, "{}")
        except httpx.TransportError:
            return False
        if response.status_code == 200:
            pids.append(response.json())
        return bool(pids)

    server.wait_until(answers)
    return pids[0]


def stick(server: RunningServer, folder: Path, **arguments: object) -> Future[httpx.Response]:
    """Have a request be stuck; returns its answer to come."""
    started = folder / "started"
    pool = ThreadPoolExecutor(1)
    content = json.dumps({"stuck": str(started), **arguments})
    answer = pool.submit(client().post, f"{server.url}/score", content=content, headers={"x-request-id": "the-stuck"})
    pool.shutdown(wait=False)
    server.wait_until(started.exists, PATIENCE_S)
    return answer


def test_a_stuck_worker_is_replaced(server: StartServer, scripts: Path, tmp_path: Path) -> None:
    """The client has the timeout's answer, who waits gets 503, the log says where it is stuck, and another serves."""
    running = server(scripts / "stuck.py", env={**SOON, "AZMLINFSRV_STUCK_GRACE_MS": "1500"})
    before = pid_of(running)
    answer = stick(running, tmp_path)
    with socket.create_connection(("127.0.0.1", running.port), PATIENCE_S) as waiting:
        waiting.sendall(b"POST /score HTTP/1.1\r\nHost: t\r\nContent-Length: 2\r\n\r\n{}")
        response = answer.result(PATIENCE_S)
        assert (response.status_code, response.json()) == (500, {"message": "Scoring timeout after 300 ms"})
        refusal = waiting.recv(1000)
    assert refusal.startswith(b"HTTP/1.1 503 ")
    assert b"\r\nRetry-After: 2\r\n" in refusal and b'{"message":"' in refusal
    assert pid_of(running) != before
    said = running.stdout
    assert "run() is stuck" in said and "library.pthread_mutex_lock(mutex)" in said
    assert said.count("Script failed to finish execution") == 1
    assert "Request id: the-stuck" in said.partition("run() is stuck")[2]


def test_a_single_process_ends(server: StartServer, scripts: Path, tmp_path: Path) -> None:
    """Nobody replaces a single process: it ends with a code of its own, so that who supervises it starts it again."""
    running = server(scripts / "stuck.py", "--hosting", "single", env=SOON)
    assert stick(running, tmp_path).result(PATIENCE_S).status_code == 500
    assert running.wait_exit(PATIENCE_S) == STUCK_EXIT
    assert f"ends with code {STUCK_EXIT}" in running.stdout


def test_a_stop_does_not_wait_for_what_is_stuck(server: StartServer, scripts: Path, tmp_path: Path) -> None:
    """A worker that is stuck while it stops ends after the grace, and not only after the graceful timeout."""
    running = server(scripts / "stuck.py", "--graceful_timeout", "600", env={**SOON, "SCORING_TIMEOUT_MS": "1500"})
    answer = stick(running, tmp_path)
    running.process.send_signal(signal.SIGTERM)
    assert answer.result(PATIENCE_S).status_code == 500
    assert running.wait_exit(PATIENCE_S) == 0
