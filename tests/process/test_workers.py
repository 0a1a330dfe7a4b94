"""Worker processes, scoring threads and coroutines, and what they do for each other."""

from __future__ import annotations

import http.client
import json
import os
import signal
import sys
import threading
import time
from pathlib import Path

import httpx
import psutil
import pytest

from tests.conftest import StartServer
from tests.process.asking import PATIENCE_S, Held, answer_of, ask, at_once, post
from tests.process.conftest import SharedServer
from tests.servers import RunningServer

pytestmark = pytest.mark.process


def workers(server: RunningServer) -> set[int]:
    """Return the process ids of the workers."""
    return {child.pid for child in psutil.Process(server.process.pid).children()}


def both_workers(server: RunningServer) -> set[int]:
    """Return the process ids that answer, once there are two."""
    seen: set[int] = set()

    def ask_one() -> bool:
        seen.add(answer_of(server, "pid"))
        return len(seen) == 2

    server.wait_until(ask_one)
    return seen


# -- several at a time -----------------------------------------------------------------------------------------


def test_worker_count(server: StartServer, scripts: Path, tmp_path: Path) -> None:
    """WORKER_COUNT=2 is two processes: both call init(), and both answer."""
    trace = tmp_path / "inits"
    running = server(scripts / "steps.py", env={"WORKER_COUNT": "2", "INIT_FILE": str(trace)})
    running.wait_until(lambda: len(trace.read_text().split()) == 2)
    seen = both_workers(running)
    assert seen == workers(running) == {int(line) for line in trace.read_text().split()}


def preloaded_workers(server: RunningServer) -> set[int]:
    """Return the process ids of the workers of an arbiter that has loaded the script, under its keeper."""
    (arbiter,) = psutil.Process(server.process.pid).children()
    return {child.pid for child in arbiter.children()}


def test_worker_preload(server: StartServer, scripts: Path, tmp_path: Path) -> None:
    """With WORKER_PRELOAD, init() is called once, before the fork, and every worker has what it loaded."""
    trace = tmp_path / "inits"
    env = {"WORKER_COUNT": "2", "WORKER_PRELOAD": "true", "INIT_FILE": str(trace)}
    running = server(scripts / "steps.py", env=env)
    seen = both_workers(running)
    (arbiter,) = workers(running)
    assert trace.read_text().split() == [str(arbiter)]
    assert seen == preloaded_workers(running)


def test_preload_frees_what_init_left(server: StartServer) -> None:
    """Garbage of init() is collected before the fork: what is frozen to be shared would stay for ever."""
    script = """
    import weakref

    class Node:
        pass

    def init():
        global left
        node = Node()
        node.itself = node
        left = weakref.ref(node)

    def run(data):
        return {"is_gone": left() is None}
    """
    running = server(script, env={"WORKER_PRELOAD": "true"})
    assert running.client.post("/score", json={}).json() == {"is_gone": True}


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="a worker's own memory is read from /proc")
def test_preload_shares_a_model_of_many_objects(server: StartServer) -> None:
    """A model of 100 MB in a million lists stays shared, also when the garbage collector has run in a worker."""
    script = """
    import gc

    def init():
        global model
        model = [[number] for number in range(1_000_000)]

    def run(data):
        gc.collect()
        return model[0]
    """
    running = server(script, env={"WORKER_COUNT": "2", "WORKER_PRELOAD": "true"})
    running.wait_until(lambda: len(preloaded_workers(running)) == 2)
    for _ in range(20):
        assert running.client.post("/score", json={}).json() == [0]
    for worker in map(psutil.Process, preloaded_workers(running)):
        memory = worker.memory_full_info()
        assert memory.rss > 100e6
        assert memory.uss < 50e6


def test_worker_threads(server: StartServer, scripts: Path, tmp_path: Path) -> None:
    """WORKER_THREADS=4 calls run() four times at once: four calls have begun before any may end."""
    running = server(scripts / "steps.py", env={"WORKER_THREADS": "4"})
    folders = [tmp_path / str(number) for number in range(4)]
    for folder in folders:
        folder.mkdir()
    held = [Held(running, folder) for folder in folders]
    assert [each.release().json() for each in held] == ["waited"] * 4


def test_one_call_at_a_time_by_default(shared_server: SharedServer) -> None:
    """Without it, calls of run() do not overlap: four short sleeps take their sum."""
    running = shared_server("steps.py")
    started = time.monotonic()
    at_once(4, running, "sleep", seconds=0.1)
    assert time.monotonic() - started >= 0.4


@pytest.mark.parametrize("hosting", ["gunicorn", "single"])
def test_async_run_is_concurrent(server: StartServer, scripts: Path, hosting: str) -> None:
    """Calls of an `async def run()` overlap: twenty wait for each other inside."""
    running = server(scripts / "coroutines.py", "--hosting", hosting)
    answers: list[int] = []

    def send() -> None:
        answers.append(post(running, json.dumps({"wait_for": 20, "patience": 10})).json())

    threads = [threading.Thread(target=send) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_S)
    assert answers == [20] * 20


def test_async_limit(server: StartServer, scripts: Path) -> None:
    """AZMLINFSRV_ASYNC_LIMIT bounds the calls at the same time: with 1, one waits in vain for the other."""
    running = server(scripts / "coroutines.py", env={"AZMLINFSRV_ASYNC_LIMIT": "1"})
    responses = []

    def send() -> None:
        responses.append(post(running, json.dumps({"wait_for": 2, "patience": 1})))

    threads = [threading.Thread(target=send) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_S)
    assert sorted(response.status_code for response in responses) == [200, 500]


# -- a busy worker still answers probes ------------------------------------------------------------------------


def probe(server: RunningServer) -> None:
    """Ask for a sign of life over a new connection."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=PATIENCE_S)
    connection.request("GET", "/")
    assert connection.getresponse().read() == b"Healthy"
    connection.close()


@pytest.mark.parametrize("busy", [False, True], ids=["sleep", "spin"])
@pytest.mark.parametrize("hosting", ["gunicorn", "single"])
def test_probes_while_run_is_busy(shared_server: SharedServer, tmp_path: Path, busy: bool, hosting: str) -> None:
    """`GET /` is answered while run() sleeps or spins, which ends only after that; bench/ measures how soon."""
    running = shared_server("steps.py", "--hosting", hosting)
    held = Held(running, tmp_path, busy=busy)
    for _ in range(10):
        probe(running)
    assert held.release().json() == "waited"


def test_scoring_timeout(server: StartServer, scripts: Path) -> None:
    """SCORING_TIMEOUT_MS ends run(), whether it sleeps or spins, and not the request after it."""
    running = server(scripts / "steps.py", env={"SCORING_TIMEOUT_MS": "1500"})
    for what in ("sleep", "spin"):
        started = time.monotonic()
        response = ask(running, what, seconds=30)
        assert 1.5 <= time.monotonic() - started < 20
        assert response.status_code == 500
        assert response.json() == {"message": "Scoring timeout after 1500 ms"}
        assert response.headers["x-ms-run-function-failed"] == "True"
        assert answer_of(running, "sleep", seconds=0) == "slept"
    assert f"Request id: {response.headers['x-request-id']}" in running.stdout


# -- workers come and go ---------------------------------------------------------------------------------------


def test_a_killed_worker_is_replaced(server: StartServer, scripts: Path) -> None:
    """After kill -9 of a worker the arbiter starts another, and the service answers again."""
    running = server(scripts / "steps.py")
    (before,) = workers(running)
    os.kill(before, signal.SIGKILL)
    running.wait_until(lambda: workers(running) - {before})
    running.wait_ready()
    after = answer_of(running, "pid")
    assert {after} == workers(running) and after != before


def test_a_killed_worker_breaks_its_request_only(server: StartServer, scripts: Path, tmp_path: Path) -> None:
    """The request that a killed worker was scoring fails at once at its client; the next one is answered."""
    running = server(scripts / "steps.py")
    held = Held(running, tmp_path)
    (pid,) = workers(running)
    os.kill(pid, signal.SIGKILL)
    assert isinstance(held.error(), httpx.TransportError)
    running.wait_ready()
    assert answer_of(running, "sleep", seconds=0) == "slept"


def test_reload(server: StartServer, tmp_path: Path) -> None:
    """SIGHUP serves the script as it is now, without refusing connections meanwhile."""
    script = tmp_path / "score.py"
    source = "def init():\n    pass\n\n\ndef run(data):\n    return {!r}\n"
    script.write_text(source.format("old"))
    running = server(script)
    assert running.client.post("/score", content=b"").json() == "old"
    script.write_text(source.format("the new one"))
    running.process.send_signal(signal.SIGHUP)
    answers: list[str] = []

    def has_changed() -> bool:
        answers.append(post(running, "").json())
        return answers[-1] == "the new one"

    running.wait_until(has_changed)
    assert set(answers) == {"old", "the new one"} or set(answers) == {"the new one"}
    assert running.process.poll() is None


def test_a_worker_that_hangs_is_replaced(server: StartServer, scripts: Path) -> None:
    """WORKER_TIMEOUT replaces a worker that gives no sign of life; a long run() is one."""
    running = server(scripts / "steps.py", env={"WORKER_TIMEOUT": "4"})
    (before,) = workers(running)
    assert answer_of(running, "spin", seconds=5) == "spun"
    assert workers(running) == {before}
    os.kill(before, signal.SIGSTOP)
    running.wait_until(lambda: workers(running) - {before})
    running.wait_ready()
    assert {answer_of(running, "pid")} == workers(running)
