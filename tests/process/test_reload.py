"""Workers that take each other's places: reloads, scripts that fail at one, recycling, and crash loops."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import psutil
import pytest

from tests.conftest import RequireProgram, StartServer
from tests.ports import ReservedPort
from tests.process.asking import PATIENCE_S, answer_of, client, post
from tests.process.fronted import load
from tests.scraping import Scraped
from tests.servers import RunningServer

pytestmark = pytest.mark.process

GOOD = "def init():\n    pass\n\n\ndef run(data):\n    return {!r}\n"
# What is wrong with a script, each with what the log says of it.
BROKEN = {
    "import no_such_module\n": "No module named 'no_such_module'",
    "def init():\n    raise ValueError('no model here')\n\n\ndef run(data):\n    return 1\n": "no model here",
    "import os\n\n\ndef init():\n    os._exit(7)\n\n\ndef run(data):\n    return 1\n": "exited with code 7",
    "def init(:\n": "SyntaxError",
}


def workers(server: RunningServer) -> set[int]:
    """Return the process ids of the workers."""
    return {child.pid for child in psutil.Process(server.process.pid).children()}


def reload(server: RunningServer, script: Path, source: str) -> None:
    """Change the script, and have it loaded again."""
    script.write_text(source)
    server.process.send_signal(signal.SIGHUP)


@pytest.mark.parametrize("count", [1, 2])
def test_a_script_that_fails_leaves_the_old_workers(server: StartServer, tmp_path: Path, count: int) -> None:
    """A script that cannot be loaded again is logged with its cause; the old one serves on until it is mended."""
    script = tmp_path / "score.py"
    script.write_text(GOOD.format("old"))
    running = server(script, "--worker_count", str(count))
    running.wait_until(lambda: running.stdout.count("ready for serving") == count)
    before = workers(running)
    for number, (source, cause) in enumerate(BROKEN.items()):
        reload(running, script, source)
        told = f"the reload is given up; workers that serve on: {count}."
        running.wait_until(lambda told=told, number=number: running.stdout.count(told) == number + 1)  # type: ignore[misc]
        assert cause in running.output
        assert workers(running) == before
        assert post(running, "").json() == "old"
    assert "Traceback" in running.output
    reload(running, script, GOOD.format("the mended one"))
    running.wait_until(lambda: not workers(running) & before and len(workers(running)) == count)
    assert post(running, "").json() == "the mended one"


def test_a_reload_under_load_loses_nothing(server: StartServer, scripts: Path) -> None:
    """Two workers are replaced one after the other while clients post: each gets its answers, all of them 200."""
    running = server(scripts / "steps.py", "--worker_count", "2")
    running.wait_until(lambda: running.stdout.count("ready for serving") == 2)
    before = workers(running)
    with load(running) as clients:
        clients.wait_for(20, running)
        running.process.send_signal(signal.SIGHUP)
        running.wait_until(lambda: not workers(running) & before and len(workers(running)) == 2, 2 * PATIENCE_S)
        clients.wait_for(20, running)
    assert set(clients.seen) == {"200"}
    assert "reload is given up" not in running.output


def test_the_old_worker_serves_while_the_new_one_loads(server: StartServer, tmp_path: Path) -> None:
    """While the new script's init() takes its time, the old worker answers."""
    script, go = tmp_path / "score.py", tmp_path / "go"
    script.write_text(GOOD.format("old"))
    running = server(script)
    slow = (
        f"import os\nimport time\n\n\ndef init():\n    print('waiting')\n    while not os.path.exists({str(go)!r}):\n"
    )
    reload(running, script, f"{slow}        time.sleep(0.01)\n\n\ndef run(data):\n    return 'new'\n")
    running.wait_until(lambda: "waiting" in running.stdout)
    assert [post(running, "").json() for _ in range(5)] == ["old"] * 5
    assert running.client.get("/ready").status_code == 200
    go.touch()
    running.wait_until(lambda: post(running, "").json() == "new")


@pytest.mark.parametrize(
    ("env", "reason"),
    [
        ({"AZMLINFSRV_MAX_REQUESTS": "300", "AZMLINFSRV_MAX_REQUESTS_JITTER": "20"}, "as many requests as it may"),
        ({"AZMLINFSRV_MAX_WORKER_MEMORY_BYTES": "300000000"}, "more memory than it may"),
    ],
    ids=["requests", "memory"],
)
def test_recycling_loses_nothing(server: StartServer, env: dict[str, str], reason: str) -> None:
    """A worker that has answered enough, or grown too much, serves until another is ready; no client notices."""
    source = "KEPT = []\n\n\ndef init():\n    pass\n\n\ndef run(data):\n    KEPT.append(bytearray(b'x' * 1000000))\n"
    running = server(f"{source}    return len(KEPT)\n", env=env)
    before = workers(running)
    with load(running, clients=2) as clients:
        running.wait_until(lambda: not workers(running) & before and len(workers(running)) == 1, 2 * PATIENCE_S)
        clients.wait_for(10, running)
    assert set(clients.seen) == {"200"}
    assert reason in running.stdout


def test_a_crash_loop_backs_off(server: StartServer, tmp_path: Path) -> None:
    """An init() that kills its process is tried again, later and later, until it does not."""
    broken = tmp_path / "broken"
    broken.touch()
    source = f"""
        import os
        import signal


        def init():
            if os.path.exists({str(broken)!r}):
                os.kill(os.getpid(), signal.SIGKILL)


        def run(data):
            return "mended"
    """
    running = server(source, wait=False)
    running.wait_until(lambda: "Workers have died 3 times in a row" in running.stdout)
    told = "soon after their start: the next is started in {:.1f} s"
    assert told.format(0.5) in running.stdout and told.format(1.0) in running.stdout
    assert "was sent SIGKILL! Perhaps out of memory?" in running.output
    broken.unlink()
    running.wait_ready()
    assert post(running, "").json() == "mended"


def test_a_worker_that_cannot_start_again_spares_the_others(server: StartServer, tmp_path: Path) -> None:
    """A worker that died and whose script cannot be loaded any more is tried again; the other one serves on."""
    script = tmp_path / "score.py"
    script.write_text(GOOD.format("old"))
    running = server(script, "--worker_count", "2")
    running.wait_until(lambda: running.stdout.count("ready for serving") == 2)
    script.write_text("raise ValueError('half written')\n")
    os.kill(min(workers(running)), signal.SIGKILL)
    running.wait_until(lambda: "Workers have died 2 times in a row" in running.stdout)
    assert "half written" in running.output
    assert post(running, "").json() == "old"
    script.write_text(GOOD.format("old"))
    running.wait_until(lambda: running.stdout.count("ready for serving") == 3)


@pytest.mark.parametrize("way", ["preload", "preload behind nginx", "single behind nginx"])
def test_a_new_process_loads_the_script(
    server: StartServer, tmp_path: Path, internal: str, require_program: RequireProgram, way: str
) -> None:
    """Where the process that serves has loaded the script, another takes its place; or not, where it cannot start."""
    arguments = ["--worker_count", "2"] if "preload" in way else ["--hosting", "single"]
    if "nginx" in way:
        require_program("nginx")
        arguments += ["--nginx", "--server_address", internal]
    script = tmp_path / "score.py"
    script.write_text(GOOD.format("old"))
    running = server(script, *arguments, env={"WORKER_PRELOAD": str("preload" in way)})
    answers = []
    told = "before it was ready: the reload is given up."
    with load(running) as clients:
        for number, source in enumerate(BROKEN):
            reload(running, script, source)
            running.wait_until(lambda number=number: running.stdout.count(told) == number + 1)  # type: ignore[misc]
            answers.append(post(running, "").json())
        counted = Scraped(running.client.get("/metrics").text).total("requests_total")
        reload(running, script, GOOD.format("new"))
        running.wait_until(lambda: post(running, "").json() == "new", 2 * PATIENCE_S)
        clients.wait_for(20, running)
        running.wait_until(lambda: post(running, "").json() == "new")
    assert answers == ["old"] * len(BROKEN)
    assert set(clients.seen) == {"200"}
    assert Scraped(running.client.get("/metrics").text).total("requests_total") > counted
    assert running.stop() == 0


def test_a_single_process_stays(server: StartServer, scripts: Path) -> None:
    """Without a process above it, a single process serves on at SIGHUP, and says that it has not loaded anything."""
    running = server(scripts / "steps.py", "--hosting", "single")
    running.process.send_signal(signal.SIGHUP)
    running.wait_until(lambda: "does not load its script again" in running.stdout)
    assert answer_of(running, "pid") == running.process.pid


def test_the_health_port_during_a_reload(server: StartServer, tmp_path: Path) -> None:
    """With WORKER_PRELOAD the health port is ready all the time, while the new script loads, and while the old ends."""
    script, go = tmp_path / "score.py", tmp_path / "go"
    script.write_text(GOOD.format("old"))
    with ReservedPort() as port:
        env = {"WORKER_PRELOAD": "true", "SEPERATE_HEALTH_ENDPOINT": "true"}
        running = server(script, "--health_port", str(port.number), env=env)
        slow = (
            f"import os, time\n\n\ndef init():\n    while not os.path.exists({str(go)!r}):\n        time.sleep(0.01)\n"
        )
        reload(running, script, f"{slow}\n\ndef run(data):\n    return 'new'\n")
        statuses = set()

        def probe() -> bool:
            statuses.add(client().get(f"http://127.0.0.1:{port.number}/ready").status_code)
            return True

        running.wait_until(lambda: "Loading the script again" in running.stdout)
        for _ in range(20):
            probe()
        go.touch()
        running.wait_until(lambda: probe() and post(running, "").json() == "new")
        running.wait_until(lambda: probe() and "Shutting down: Master" in running.stderr)
        probe()
    assert statuses == {200}


def test_a_stop_during_a_reload(server: StartServer, scripts: Path) -> None:
    """A stop in the middle of a reload ends all workers, the new ones too, with 0."""
    running = server(scripts / "steps.py", "--worker_count", "2")
    running.process.send_signal(signal.SIGHUP)
    running.wait_until(lambda: "Loading the script again" in running.stdout)
    assert answer_of(running, "sleep", seconds=0) == "slept"
    assert running.stop() == 0
