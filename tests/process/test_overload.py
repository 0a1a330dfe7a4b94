"""Too much at a time, callers that do not wait and clients that leave, with real servers."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest

from tests.conftest import StartServer
from tests.process.asking import PATIENCE_S, Held, answer_of, ask, client
from tests.scraping import Scraped
from tests.servers import RunningServer

pytestmark = pytest.mark.process

BODY = json.dumps({"do": "fail", "text": "nobody waits for this"}).encode()
REQUEST = b"POST /score HTTP/1.1\r\nHost: t\r\nContent-Length: %d\r\n\r\n%b" % (len(BODY), BODY)


def scrape(running: RunningServer) -> Scraped:
    """Return what the server has counted."""
    return Scraped(running.client.get("/metrics").text)


def leave_the_queue(running: RunningServer) -> None:
    """Have a client whose request waits leave, and wait until the server has dropped its request."""
    with socket.create_connection(("127.0.0.1", running.port), PATIENCE_S) as leaving:
        leaving.sendall(REQUEST)
        running.wait_until(lambda: scrape(running).total("requests_in_flight") == 2)
    running.wait_until(lambda: scrape(running).values("requests_abandoned_total", stage="waiting") == [1])
    running.wait_until(lambda: '"POST /score HTTP/1.1" 499' in running.stdout)


@pytest.mark.parametrize("hosting", ["gunicorn", "single"])
def test_too_much_and_too_late(server: StartServer, scripts: Path, tmp_path: Path, hosting: str) -> None:
    """While run() works one request may wait; others are refused, late ones never begun, and left ones dropped."""
    running = server(scripts / "steps.py", "--hosting", hosting, "--max_queue", "1")
    held = Held(running, tmp_path)
    with socket.create_connection(("127.0.0.1", running.port), PATIENCE_S) as waiting:
        waiting.sendall(REQUEST)
        running.wait_until(lambda: scrape(running).total("requests_in_flight") == 2)
        refused = ask(running, "pid")
        assert (refused.status_code, refused.json()) == (503, {"message": "Too many requests wait already"})
        assert int(refused.headers["retry-after"]) >= 1
        assert refused.headers["x-ms-run-function-failed"] == "False"
    running.wait_until(lambda: scrape(running).values("requests_abandoned_total", stage="waiting") == [1])
    late = client().post(f"{running.url}/score", content=BODY, headers={"x-request-timeout-ms": "100"})
    assert (late.status_code, late.headers["x-ms-run-function-failed"]) == (504, "False")
    assert held.release().json() == "waited"
    assert answer_of(running, "calls") == 2
    assert "Requests are refused (queue_full)" in running.stdout
    assert "nobody waits for this" not in running.stdout


def test_a_client_that_leaves_nginx(
    server: StartServer, scripts: Path, tmp_path: Path, nginx: str, internal: str
) -> None:
    """Nginx ends its connection when its client leaves, and so the request that waits is dropped."""
    running = server(
        scripts / "steps.py", "--nginx", "--server_address", internal, env={"AZMLINFSRV_NGINX_PROGRAM": nginx}
    )
    held = Held(running, tmp_path)
    leave_the_queue(running)
    assert held.release().json() == "waited"
    assert answer_of(running, "calls") == 2


def test_more_at_a_time_than_all_workers_may_have(server: StartServer, scripts: Path, tmp_path: Path) -> None:
    """The limit counts the requests of all workers: whichever of them is asked says 429 while another works."""
    running = server(scripts / "steps.py", "--worker_count", "2", "--max_concurrent_requests", "1")
    running.wait_until(lambda: scrape(running).values("workers_up") == [2])
    held = Held(running, tmp_path)
    for _ in range(10):
        refused = ask(running, "pid")
        assert refused.status_code == 429
        assert refused.json() == {"message": "Too many requests at a time: the limit is 1"}
    assert held.release().json() == "waited"
    running.wait_until(lambda: ask(running, "pid").status_code == 200)
    assert scrape(running).values("requests_rejected_total", reason="concurrency")[0] >= 10
