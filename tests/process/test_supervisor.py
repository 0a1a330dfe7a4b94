"""The supervisor: what it keeps up, how it stops, and what it says when it cannot go on."""

from __future__ import annotations

import os
import signal
import socket
import tempfile
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from tests.conftest import MEASURED, Record, RequireProgram, StartServer
from tests.ports import ReservedPort
from tests.process.asking import PATIENCE_S, Held, answer_of, ask
from tests.process.fronted import is_nginx, lives, load, parts
from tests.servers import RunningServer

pytestmark = pytest.mark.process


@pytest.fixture
def front(server: StartServer, require_program: RequireProgram) -> Iterator[Callable[..., RunningServer]]:
    """A function that starts a server behind nginx."""
    require_program("nginx")
    with ReservedPort() as internal:

        def start(script: str | Path, *args: str, wait: bool = True, **env: str) -> RunningServer:
            address = f"127.0.0.1:{internal.number}"
            return server(script, "--nginx", "--server_address", address, *args, env=env, wait=wait)

        yield start


Front = Callable[..., RunningServer]


def folder_of(server: RunningServer) -> Path:
    """Return the folder that nginx works in."""
    master, _ = parts(server)
    return Path(" ".join(master.cmdline()).partition(" -p ")[2].split()[0])


def victim_of(server: RunningServer, name: str) -> psutil.Process:
    """Return the process of that name."""
    master, arbiter = parts(server)
    return {
        "nginx": lambda: master,
        "nginx's worker": lambda: next(child for child in master.children() if "worker" in child.cmdline()[0]),
        "arbiter": lambda: arbiter,
        "worker": lambda: arbiter.children()[0],
    }[name]()


@pytest.mark.parametrize("name", ["nginx", "nginx's worker", "arbiter", "worker"])
def test_what_is_killed_under_load_is_back(front: Front, scripts: Path, name: str, record_property: Record) -> None:
    """After kill -9 the service is back; clients lose the requests that were under way, and no others.

    How long it is away is measured by `bench/faults.py`.
    """
    running = front(scripts / "steps.py")
    with load(running) as clients:
        clients.wait_for(20, running)
        victim = victim_of(running, name)
        watched = [victim, victim_of(running, "worker")] if name == "arbiter" else [victim]
        clients.begin()
        victim.kill()
        running.wait_until(lambda: not any(map(lives, watched)))
        clients.wait_for(100, running)
        master, arbiter = parts(running)
    seen = f"longest without success {clients.longest_s:.2f} s, seen {dict(clients.seen)}"
    record_property(MEASURED, f"kill -9 of {name}: {seen}")
    assert clients.longest_s < PATIENCE_S
    assert sum(clients.seen.values()) - clients.seen["200"] <= 4  # one a client
    assert "ConnectError" not in clients.seen
    assert victim.pid not in {master.pid, arbiter.pid}
    assert running.stop() == 0


def test_a_worker_of_nginx_that_lost_its_master_finishes(front: Front, scripts: Path, tmp_path: Path) -> None:
    """A request that is under way when nginx's master is killed is still answered."""
    running = front(scripts / "steps.py")
    held = Held(running, tmp_path)
    master, _ = parts(running)
    master.kill()
    running.wait_until(lambda: "nginx ended with signal 9: starting it again." in running.stdout)
    running.wait_ready()
    assert held.release().json() == "waited"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGQUIT])
def test_stop(front: Front, scripts: Path, number: signal.Signals) -> None:
    """Each signal that stops ends everything, with exit code 0, and leaves no folder behind."""
    running = front(scripts / "steps.py")
    folder = folder_of(running)
    assert (folder / "nginx.conf").exists()
    assert running.stop(number) == 0
    assert not folder.exists()


def test_a_graceful_stop_answers_what_is_here(front: Front, scripts: Path, tmp_path: Path) -> None:
    """SIGTERM refuses new connections, and the request under way is answered before the server is stopped."""
    running = front(scripts / "steps.py")
    held = Held(running, tmp_path)
    running.process.send_signal(signal.SIGTERM)
    running.wait_until(lambda: not is_listening(running))
    assert "Handling signal: term" not in running.stderr  # nginx goes first
    assert held.release().json() == "waited"
    assert running.wait_exit() == 0
    assert "Handling signal: term" in running.stderr


def is_listening(server: RunningServer) -> bool:
    """Return whether connections are taken."""
    try:
        socket.create_connection(("127.0.0.1", server.port), 5).close()
    except ConnectionRefusedError:
        return False
    return True


def test_a_stop_ends_at_the_graceful_timeout(front: Front, scripts: Path, tmp_path: Path) -> None:
    """A request that does not end is cut off after the graceful timeout."""
    running = front(scripts / "steps.py", "--graceful_timeout", "1")
    held = Held(running, tmp_path)
    running.process.send_signal(signal.SIGTERM)
    assert running.wait_exit(15) == 0
    assert held.error() is not None


def test_reload(front: Front, tmp_path: Path) -> None:
    """SIGHUP serves the script as it is now; nginx stays."""
    script = tmp_path / "score.py"
    source = "def init():\n    pass\n\n\ndef run(data):\n    return {!r}\n"
    script.write_text(source.format("old"))
    running = front(script)
    before = parts(running)
    assert running.client.post("/score", content=b"").json() == "old"
    script.write_text(source.format("the new one"))
    running.process.send_signal(signal.SIGHUP)
    running.wait_until(lambda: running.client.post("/score", content=b"").json() == "the new one")
    assert parts(running) == before


def test_more_and_fewer_workers(front: Front, scripts: Path) -> None:
    """SIGTTIN and SIGTTOU add and take a worker; SIGUSR1 has nginx reopen its logs; SIGUSR2 does nothing."""
    running = front(scripts / "steps.py")
    _, arbiter = parts(running)
    running.process.send_signal(signal.SIGTTIN)
    running.wait_until(lambda: len(arbiter.children()) == 2)
    running.process.send_signal(signal.SIGTTOU)
    running.wait_until(lambda: len(arbiter.children()) == 1)
    running.process.send_signal(signal.SIGUSR2)
    running.process.send_signal(signal.SIGUSR1)
    running.client.request("TRACE", "/", headers={"User-Agent": "after-reopening"})
    running.wait_until(lambda: "after-reopening" in running.stdout)
    assert answer_of(running, "sleep", seconds=0) == "slept"


@pytest.mark.parametrize("hosting", ["gunicorn", "single"])
def test_a_script_that_fails(front: Front, hosting: str) -> None:
    """A script whose init() raises ends everything with exit code 3 and its traceback, as without nginx."""
    script = "def init():\n    raise ValueError('no model here')\n\n\ndef run(data):\n    return data\n"
    running = front(script, "--hosting", hosting, wait=False)
    assert running.wait_exit() == 3
    assert "ValueError: no model here" in running.stdout
    assert "User's init function failed" in running.stdout
    assert "starting it again" not in running.output


def test_nginx_is_missing(front: Front, scripts: Path) -> None:
    """Where nginx is missing, one line says how to get it, and the exit code is that of a wrong configuration."""
    running = front(scripts / "steps.py", wait=False, AZMLINFSRV_NGINX_PROGRAM="no-such-nginx")
    assert running.wait_exit() == 3
    (line,) = [line for line in running.stdout.splitlines() if "apt-get" in line]
    assert line.startswith("no-such-nginx is not installed: apt-get install nginx-light")


def test_an_nginx_that_cannot_be_kept_up(front: Front, scripts: Path, tmp_path: Path) -> None:
    """An nginx that always ends is started again a few times; then everything ends with its exit code."""
    program = tmp_path / "nginx"
    program.write_text(
        textwrap.dedent("""\
        #!/bin/sh
        if [ "$1" = -V ]; then echo nginx version: nginx/1.22.1; exit 0; fi
        echo started >>"$(dirname "$0")/starts"
        echo 'nginx: [emerg] out of order' >&2
        exit 7
        """)
    )
    program.chmod(0o755)
    running = front(scripts / "steps.py", wait=False, AZMLINFSRV_NGINX_PROGRAM=str(program))
    assert running.wait_exit() == 7
    assert len((tmp_path / "starts").read_text().split()) == 6
    assert running.stderr.count("nginx - [emerg] out of order") == 6
    assert "nginx ended with code 7 and cannot be kept up: stopping." in running.stdout
    assert "Shutting down: Master" in running.stderr


def test_a_port_in_use(front: Front, scripts: Path) -> None:
    """A port that somebody listens on stops the start with exit code 1, as without nginx."""
    first = front(scripts / "steps.py")
    second = front(scripts / "steps.py", "--port", str(first.port), wait=False)
    assert second.wait_exit() == 1
    assert "Connection in use" in second.stderr


def test_an_internal_address_in_use(front: Front, scripts: Path) -> None:
    """So does the server's address, with the line of a wrong configuration."""
    front(scripts / "steps.py")
    second = front(scripts / "steps.py", wait=False)
    assert second.wait_exit() == 3
    assert "cannot be listened on: [Errno" in second.stdout


@pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="only Linux tells children of their parent's death")
def test_nothing_outlives_the_supervisor(front: Front, scripts: Path) -> None:
    """After kill -9 of the supervisor, nginx and the server end too, and the next one removes its folder."""
    with tempfile.TemporaryDirectory() as place:
        Path(place).chmod(0o711)  # nginx's workers are another user's where root starts it
        _assert_all_ends(front, scripts, place)


def _assert_all_ends(front: Front, scripts: Path, place: str) -> None:
    running = front(scripts / "steps.py", TMPDIR=place)
    children = psutil.Process(running.process.pid).children(recursive=True)
    assert any(is_nginx(child) for child in children)
    folder = folder_of(running)
    running.process.kill()
    assert running.wait_exit() == -signal.SIGKILL
    _, alive = psutil.wait_procs(children, timeout=PATIENCE_S)
    assert not [child for child in alive if lives(child)]
    assert (folder / "nginx.conf").exists()
    other = front(scripts / "steps.py", TMPDIR=place)
    assert not folder.exists()
    assert folder_of(other).exists()
    assert other.stop() == 0
    assert not list(Path(place).iterdir())


def test_the_server_sees_no_traces_of_the_supervisor(front: Front, scripts: Path) -> None:
    """The script's environment has the public port, and none of the variables that sockets are handed down in."""
    running = front(scripts / "steps.py")
    assert answer_of(running, "variable", name="SERVER_PORT") == str(running.port)
    for name in ("NGINX", "LISTEN_FDS", "GUNICORN_FD"):
        assert answer_of(running, "variable", name=name) == {}  # None
    assert ask(running, "fail", text="x").status_code == 500
