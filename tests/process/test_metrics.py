"""`/metrics` of real servers: what several workers have counted is what a client has counted."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import cycle, pairwise
from pathlib import Path

import psutil
import pytest

from tests.conftest import StartServer
from tests.process.asking import PATIENCE_S, Held, answer_of, ask
from tests.process.conftest import SharedServer
from tests.scraping import Scraped
from tests.servers import RunningServer

pytestmark = pytest.mark.process

WORKERS = 4
GOOD, FAILING = json.dumps({"do": "pid"}), json.dumps({"do": "fail", "text": "no"})
# Each with the route, method and status under which it has to be counted.
MIX = [
    ("POST", "/score", GOOD, ("/score", "POST", 200)),
    ("POST", "/score", GOOD, ("/score", "POST", 200)),
    ("POST", "/score", FAILING, ("/score", "POST", 500)),
    ("GET", "/score?data=no", "", ("/score", "GET", 500)),
    ("PUT", "/score", GOOD, ("/score", "PUT", 405)),
    ("BREW", "/score", "", ("/score", "other", 405)),
    ("GET", "/", "", ("/", "GET", 200)),
    ("GET", "/ready", "", ("/ready", "GET", 200)),
    ("GET", "/nothing/{}", "", ("other", "GET", 404)),
    ("POST", "/nothing/{}", "body", ("other", "POST", 404)),
    ("GET", "/swagger.json?version=9", "", ("/swagger.json", "GET", 404)),
]

Key = tuple[str, str, int]


class Load:
    """Clients that send a mix of requests over connections of their own, and count the answers.

    Args:
        port: the server's port.
        clients: number of clients.

    Attributes:
        answered: number of answers by route, method and status.
        broken: number of requests whose connection broke instead.
        sent_bytes: bytes of the bodies of answered requests, by route.
        received_bytes: bytes of the bodies of answers, by route.
    """

    def __init__(self, port: int, clients: int = 8) -> None:
        self._port = port
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._clients = clients
        self._pool = ThreadPoolExecutor(clients)
        self.answered: Counter[Key] = Counter()
        self.sent_bytes: Counter[str] = Counter()
        self.received_bytes: Counter[str] = Counter()
        self.broken = 0

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Send until the end of the block."""
        clients = [self._pool.submit(self._send, number) for number in range(self._clients)]
        try:
            yield
        finally:
            self._stop.set()
            for client in clients:
                client.result(PATIENCE_S)
            self._pool.shutdown()

    @property
    def total(self) -> int:
        """Number of answers so far."""
        return sum(self.answered.values())

    def _send(self, number: int) -> None:
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", self._port, timeout=PATIENCE_S)) as connection:
            self._send_over(connection, number)

    def _send_over(self, connection: http.client.HTTPConnection, number: int) -> None:
        for turn, (method, target, body, key) in enumerate(cycle(MIX[number:] + MIX[:number])):
            if self._stop.is_set():
                break
            try:
                connection.request(method, target.replace("{}", f"{number}-{turn}"), body)
                response = connection.getresponse()
                content = response.read()
            except (OSError, http.client.HTTPException):
                connection.close()
                with self._lock:
                    self.broken += 1
                continue
            assert response.status == key[2], (method, target, response.status, content)
            with self._lock:
                self.answered[key] += 1
                self.sent_bytes[key[0]] += len(body)
                self.received_bytes[key[0]] += len(content)


def scrape(server: RunningServer) -> Scraped:
    """Return what a worker says, over a connection of its own so that any may be the one."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=PATIENCE_S)
    with contextlib.closing(connection):
        connection.request("GET", "/metrics")
        response = connection.getresponse()
        assert response.status == 200
        return Scraped(response.read().decode())


def counted(scraped: Scraped) -> dict[Key, int]:
    """Return the number of requests by route, method and status, scrapes left out."""
    requests = scraped.requests().items()
    return {(route, method, int(status)): int(n) for (route, method, status), n in requests if route != "/metrics"}


def workers_of(server: RunningServer) -> set[int]:
    """Return the process ids of the workers."""
    return {child.pid for child in psutil.Process(server.process.pid).children()}


def all_up(server: RunningServer, count: int = WORKERS) -> bool:
    """Return whether that many workers serve."""
    return scrape(server).values("workers_up") == [count]


def start_four(server: StartServer, scripts: Path) -> RunningServer:
    """Start four workers, and wait until all of them serve."""
    running = server(scripts / "steps.py", env={"WORKER_COUNT": str(WORKERS)})
    running.wait_until(lambda: all_up(running))
    return running


def never_down(before: Scraped, after: Scraped) -> None:
    """Fail if a counter went down or is gone."""
    later = after.counters()
    for key, value in before.counters().items():
        assert later[key] >= value, (key, value, later[key])


def test_sums_are_what_the_clients_counted(server: StartServer, scripts: Path) -> None:
    """With four workers and a mix of good, failing and unknown requests, every sum is exact, whoever answers."""
    running = start_four(server, scripts)
    before = counted(scrape(running))
    load = Load(running.port)
    scrapes = [scrape(running)]
    with load.running():

        def has_had_enough() -> bool:
            scrapes.append(scrape(running))
            return load.total >= 2000

        running.wait_until(has_had_enough)
    for earlier, later in pairwise(scrapes):
        never_down(earlier, later)

    def difference() -> dict[Key, int]:
        return {key: count - before.get(key, 0) for key, count in counted(scrape(running)).items()}

    expected = dict(load.answered)
    assert load.broken == 0 and len(expected) == len({key for *_, key in MIX})
    # A worker counts just after it has written the answer, so the last one may not have yet.
    running.wait_until(lambda: {key: n for key, n in difference().items() if n} == expected)
    scraped = scrape(running)
    for route in ("/score", "other"):
        assert scraped.values("request_body_bytes_total", route=route) == [load.sent_bytes[route]]
        assert scraped.values("response_body_bytes_total", route=route) == [load.received_bytes[route]]
    ran = sum(n for (route, method, _), n in expected.items() if route == "/score" and method in ("GET", "POST"))
    assert scraped.values("queue_duration_seconds_count") == [ran]
    assert scraped.values("run_duration_seconds_count") == [ran]
    assert scraped.values("requests_rejected_total", reason="invalid") == [load.answered["/score", "other", 405]]
    assert scraped.total("requests_in_flight") == 0
    assert len(scraped.values("worker_resident_memory_bytes")) == WORKERS
    resident = sum(psutil.Process(pid).memory_info().rss for pid in workers_of(running))
    assert scraped.total("worker_resident_memory_bytes") == pytest.approx(resident, rel=0.1)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGABRT])
def test_a_worker_that_dies_under_load(server: StartServer, scripts: Path, number: int) -> None:
    """Counters never go down, no answer that a client got is missing, and the restart is counted."""
    running = start_four(server, scripts)
    load, scrapes = Load(running.port), [scrape(running)]
    before = counted(scrapes[0])
    with load.running():
        running.wait_until(lambda: load.total > 300)
        killed = min(workers_of(running))
        os.kill(killed, number)

        def is_replaced() -> bool:
            with contextlib.suppress(OSError, http.client.HTTPException):  # the one that died may have taken it
                scrapes.append(scrape(running))
            return len(workers_of(running) - {killed}) == WORKERS and scrapes[-1].values("workers_up") == [WORKERS]

        running.wait_until(is_replaced)
        enough = load.total + 300
        running.wait_until(lambda: load.total > enough)
    missing: dict[Key, int] = {}

    def has_counted() -> bool:
        """Say whether all is counted but what the worker that died may have answered last."""
        scrapes.append(scrape(running))
        after = counted(scrapes[-1])
        missing.update({key: n - (after.get(key, 0) - before.get(key, 0)) for key, n in load.answered.items()})
        return sum(n for n in missing.values() if n > 0) <= 1 and scrapes[-1].total("requests_in_flight") == 0

    # A worker counts just after it has written the answer.
    running.wait_until(has_counted)
    for earlier, later in pairwise(scrapes):
        never_down(earlier, later)
    # A request that was counted, but whose answer did not leave the worker any more, is one too many.
    assert -sum(missing.values()) <= load.broken, missing
    assert scrapes[-1].values("worker_restarts_total") == [1]
    assert scrapes[-1].values("workers_wanted") == [WORKERS]


def test_a_reload_keeps_the_counters(server: StartServer, scripts: Path) -> None:
    """SIGHUP replaces every worker: counters go on, gauges are the new workers', and nothing was restarted."""
    running = start_four(server, scripts)
    before = workers_of(running)
    load = Load(running.port, clients=2)
    with load.running():
        running.wait_until(lambda: load.total > 100)
    first = scrape(running)
    running.process.send_signal(signal.SIGHUP)
    running.wait_until(lambda: not workers_of(running) & before and all_up(running))
    second = scrape(running)
    never_down(first, second)
    assert counted(second)["/score", "POST", 200] == load.answered["/score", "POST", 200]
    assert second.values("worker_restarts_total") == [0]
    assert len(second.values("worker_resident_memory_bytes")) == WORKERS


def test_more_and_fewer_workers(server: StartServer, scripts: Path) -> None:
    """SIGTTIN and SIGTTOU change how many workers there should be and are, and are no restarts."""
    running = server(scripts / "steps.py")
    for number, count in ((signal.SIGTTIN, 2), (signal.SIGTTIN, 3), (signal.SIGTTOU, 2)):
        running.process.send_signal(number)
        running.wait_until(lambda count=count: all_up(running, count))  # type: ignore[misc]
        assert scrape(running).values("workers_wanted") == [count]
    assert scrape(running).values("worker_restarts_total") == [0]


def test_max_requests_are_restarts(server: StartServer, scripts: Path) -> None:
    """A worker that makes way for another after max_requests is counted, as one that crashed is."""
    running = server(scripts / "steps.py", env={"GUNICORN_CMD_ARGS": "--max-requests 3"})
    for _ in range(3):
        answer_of(running, "pid")
    running.wait_ready()
    running.wait_until(lambda: scrape(running).values("worker_restarts_total") == [1])
    assert counted(scrape(running))["/score", "POST", 200] == 3


def test_hooks_of_gunicorn_stay(server: StartServer, scripts: Path, tmp_path: Path) -> None:
    """A child_exit of the user's own gunicorn.conf.py is called beside ours."""
    conf = "def child_exit(server, worker):\n    open('exited', 'a').write('x')\n"
    (tmp_path / "gunicorn.conf.py").write_text(conf)
    running = server(scripts / "steps.py", cwd=tmp_path)
    (pid,) = workers_of(running)
    os.kill(pid, signal.SIGKILL)
    running.wait_until(lambda: (tmp_path / "exited").exists() and workers_of(running) - {pid})
    running.wait_ready()
    assert scrape(running).values("worker_restarts_total") == [1]


@pytest.mark.parametrize("hosting", ["gunicorn", "single"])
@pytest.mark.parametrize("busy", [False, True], ids=["sleep", "spin"])
def test_scrapes_while_run_is_busy(shared_server: SharedServer, tmp_path: Path, busy: bool, hosting: str) -> None:
    """A scrape is answered while run() works, without waiting for it, and tells of it and of those that wait."""
    running = shared_server("steps.py", "--hosting", hosting)
    with ThreadPoolExecutor(2) as pool:
        held = Held(running, tmp_path, busy=busy)
        for _ in range(2):
            pool.submit(ask, running, "pid")
        running.wait_until(lambda: scrape(running).total("requests_in_flight") == 3)
        assert scrape(running).values("queue_depth") == [2]
        assert held.release().json() == "waited"
    running.wait_until(lambda: scrape(running).total("requests_in_flight") == 0)


def test_durations(server: StartServer, scripts: Path, tmp_path: Path) -> None:
    """A request that waits half a second for another, and then runs as long, shows in all three histograms."""
    running = server(scripts / "steps.py")
    begun = time.monotonic()
    with ThreadPoolExecutor(1) as pool:
        held = Held(running, tmp_path)
        other = pool.submit(ask, running, "sleep", seconds=0.5)
        running.wait_until(lambda: scrape(running).total("requests_in_flight") == 2)
        waiting = time.monotonic()
        while time.monotonic() - waiting < 0.5:
            scrape(running)
        held.release()
        other.result(PATIENCE_S)
    running.wait_until(lambda: scrape(running).values("run_duration_seconds_count") == [2])
    longest = time.monotonic() - begun
    scraped = scrape(running)
    (ran,), (waited,) = (scraped.values(f"{name}_duration_seconds_sum") for name in ("run", "queue"))
    (whole,) = scraped.values("request_duration_seconds_sum", route="/score")
    assert 1.0 <= ran <= longest
    assert 0.5 <= waited <= longest
    assert ran + waited <= whole <= 2 * longest


def test_timeouts_and_clients_that_leave(server: StartServer, scripts: Path) -> None:
    """A run() beyond its time and a client that does not wait for its answer are counted once each."""
    running = server(scripts / "steps.py", env={"SCORING_TIMEOUT_MS": "4000"})
    body = json.dumps({"do": "sleep", "seconds": 30}).encode()
    with socket.create_connection(("127.0.0.1", running.port)) as client:
        client.sendall(b"POST /score HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
        running.wait_until(lambda: scrape(running).total("requests_in_flight") == 1)
    running.wait_until(lambda: scrape(running).values("requests_disconnected_total") == [1])
    running.wait_until(lambda: scrape(running).values("run_timeouts_total") == [1])
    assert scrape(running).total("requests_in_flight") == 0
    assert scrape(running).values("requests_disconnected_total") == [1]


@pytest.mark.parametrize("name", ["streams.py", "async_streams.py"])
def test_streams(server: StartServer, scripts: Path, tmp_path: Path, name: str) -> None:
    """A stream is open until its client has it all, or leaves."""
    running = server(scripts / name)
    go = tmp_path / "go"
    query, content = ({"go": str(go)}, "") if name == "streams.py" else ({}, json.dumps({"go": str(go)}))
    with running.client.stream("POST", "/score", params=query, content=content) as response:
        running.wait_until(lambda: scrape(running).values("streams_open") == [1])
        go.touch()
        assert response.read().startswith(b"firstsecond")
    running.wait_until(lambda: scrape(running).values("streams_open") == [0])
    scraped = scrape(running)
    assert scraped.values("response_body_bytes_total", route="/score") == [len(b"firstsecond")]
    assert scraped.total("requests_in_flight") == 0


def test_refused_requests(server: StartServer, scripts: Path) -> None:
    """What is refused before run() is asked is counted by its reason."""
    running = server(scripts / "steps.py", "--max_body_bytes", "10", env={"AZMLINFSRV_HEADER_TIMEOUT_MS": "2000"})
    assert running.client.post("/score", content=b"x" * 11).status_code == 413
    assert running.client.get("/", headers={"a": "b" * 40_000}).status_code == 431
    for text, status in ((b"GET / HTTP/1.1\r\n\r\n", b"400"), (b"GET / HT", b"408")):
        with socket.create_connection(("127.0.0.1", running.port), timeout=PATIENCE_S) as client:
            client.sendall(text)
            assert client.recv(1000).split()[1] == status
    running.wait_until(lambda: scrape(running).total("requests_rejected_total") == 4)
    reasons = {
        reason: scrape(running).values("requests_rejected_total", reason=reason)
        for reason in ("too_large", "invalid", "slow", "queue_full")
    }
    assert reasons == {"too_large": [2], "invalid": [1], "slow": [1], "queue_full": [0]}


@pytest.mark.parametrize("hosting", ["gunicorn", "single"])
def test_one_setting_turns_it_off(server: StartServer, scripts: Path, hosting: str) -> None:
    """With AZMLINFSRV_METRICS_ENABLED=false, /metrics is a path like any other that does not exist."""
    running = server(scripts / "steps.py", "--hosting", hosting, env={"AZMLINFSRV_METRICS_ENABLED": "false"})
    assert running.client.get("/metrics").status_code == 404
    assert answer_of(running, "sleep", seconds=0) == "slept"


def test_other_methods(shared_server: SharedServer) -> None:
    """HEAD has the same head without a body, POST is not allowed, and the server's own log has no line of a scrape."""
    running = shared_server("steps.py")
    head = running.client.head("/metrics")
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert running.client.post("/metrics").status_code == 405
    scrape(running)
    assert running.client.get("/swagger.json?last").status_code == 200
    running.wait_until(lambda: "azmlinfsrv - GET /swagger.json?last" in running.output)
    assert "azmlinfsrv - GET /metrics" not in running.output


def test_no_secret_is_told(server: StartServer, scripts: Path) -> None:
    """Keys of telemetry, which are settings too, are nowhere in the text."""
    key = "InstrumentationKey=11111111-2222-3333-4444-555555555555"
    running = server(scripts / "steps.py", env={"AML_APP_INSIGHTS_KEY": key})
    assert "11111111" not in running.client.get("/metrics").text
