"""How a server stops: what is running is finished, what is idle is closed, and nothing is left."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from tests.conftest import StartServer
from tests.process.asking import Held, client
from tests.servers import RunningServer

pytestmark = pytest.mark.process

# Less than run() holds a request that waits (20 s) and than the graceful timeout (30 s).
SOON_S = 15.0

hostings = pytest.mark.parametrize("hosting", ["gunicorn", "single"])


def refuses(server: RunningServer) -> bool:
    """Return whether new connections are refused; one may still be reset, if the listener is closed meanwhile."""
    try:
        socket.create_connection(("127.0.0.1", server.port), 5).close()
    except ConnectionRefusedError:
        return True
    except ConnectionResetError:
        pass
    return False


def idle_connections(server: RunningServer, count: int) -> list[socket.socket]:
    """Return connections that have had an answer and could have another."""
    connections = []
    for _ in range(count):
        connection = socket.create_connection(("127.0.0.1", server.port), 10)
        connection.sendall(b"GET / HTTP/1.1\r\nHost: t\r\n\r\n")
        assert connection.recv(1000).startswith(b"HTTP/1.1 200 ")
        connections.append(connection)
    return connections


@hostings
def test_sigterm_lets_a_request_finish(server: StartServer, scripts: Path, tmp_path: Path, hosting: str) -> None:
    """SIGTERM refuses new connections at once, and ends with 0 once what was running has its answer."""
    running = server(scripts / "steps.py", "--hosting", hosting)
    held = Held(running, tmp_path)
    running.process.send_signal(signal.SIGTERM)
    running.wait_until(lambda: refuses(running))
    assert running.process.poll() is None
    response = held.release()
    assert (response.status_code, response.json()) == (200, "waited")
    assert response.headers["connection"] == "close"
    assert running.wait_exit(SOON_S) == 0


@hostings
def test_sigterm_answers_what_waits(server: StartServer, scripts: Path, tmp_path: Path, hosting: str) -> None:
    """Requests that wait behind the running one are answered too."""
    running = server(scripts / "steps.py", "--hosting", hosting)
    held = Held(running, tmp_path)
    body = b'{"do": "pid"}'
    with socket.create_connection(("127.0.0.1", running.port), 10) as waiting:
        waiting.sendall(b"POST /score HTTP/1.1\r\nHost: t\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
        running.wait_ready()
        running.process.send_signal(signal.SIGTERM)
        running.wait_until(lambda: refuses(running))
        assert held.release().json() == "waited"
        assert waiting.recv(1000).startswith(b"HTTP/1.1 200 ")
    assert running.wait_exit(SOON_S) == 0


def test_sigterm_lets_a_stream_finish(server: StartServer, scripts: Path, tmp_path: Path) -> None:
    """A stream that has begun is sent to its end."""
    running = server(scripts / "streams.py")
    go = tmp_path / "go"
    with client().stream("POST", f"{running.url}/score", params={"go": str(go)}) as response:
        chunks = response.iter_raw()
        assert next(chunks) == b"first"
        running.process.send_signal(signal.SIGTERM)
        running.wait_until(lambda: refuses(running))
        go.touch()
        assert b"".join(chunks) == b"second"
    assert running.wait_exit(SOON_S) == 0


@hostings
def test_a_stream_is_broken_off_at_the_limit(server: StartServer, scripts: Path, tmp_path: Path, hosting: str) -> None:
    """After the graceful timeout a stream loses its connection before its last chunk, and its generator is closed."""
    running = server(scripts / "streams.py", "--hosting", hosting, "--graceful_timeout", "1")
    closed = tmp_path / "closed"
    with client().stream("POST", f"{running.url}/score", params={"closed": str(closed)}) as response:
        chunks = response.iter_raw()
        assert next(chunks)
        running.process.send_signal(signal.SIGTERM)
        with pytest.raises(httpx.TransportError):
            for _ in chunks:
                pass
    assert running.wait_exit(SOON_S) == 0
    assert closed.exists()


@hostings
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda number: signal.Signals(number).name)
def test_idle_connections_do_not_hold_the_stop(server: StartServer, scripts: Path, hosting: str, number: int) -> None:
    """A server with idle keep-alive connections stops, though it may hold them a moment, and closes them cleanly."""
    running = server(scripts / "steps.py", "--hosting", hosting)
    connections = idle_connections(running, 5)
    running.process.send_signal(number)
    assert running.wait_exit(SOON_S) == 0
    for connection in connections:
        assert connection.recv(1) == b""
        connection.close()


@hostings
def test_half_a_request_does_not_hold_the_stop(server: StartServer, scripts: Path, hosting: str) -> None:
    """A client that never completes its request holds the stop for the graceful timeout at the most."""
    running = server(scripts / "steps.py", "--hosting", hosting, "--graceful_timeout", "1")
    with socket.create_connection(("127.0.0.1", running.port), 10) as slow:
        slow.sendall(b"POST /score HTTP/1.1\r\nHost: t\r\nContent-Length: 10\r\n\r\nhalf")
        running.wait_ready()
        running.process.send_signal(signal.SIGTERM)
        assert running.wait_exit(SOON_S) == 0


@pytest.mark.parametrize(
    ("hosting", "number"),
    [("gunicorn", signal.SIGINT), ("gunicorn", signal.SIGQUIT), ("single", signal.SIGINT)],
    ids=lambda value: value if isinstance(value, str) else signal.Signals(value).name,
)
def test_sigint_stops_at_once(
    server: StartServer, scripts: Path, tmp_path: Path, hosting: str, number: signal.Signals
) -> None:
    """SIGINT and SIGQUIT do not wait for run(): its client loses the connection, and the exit code is 0."""
    running = server(scripts / "steps.py", "--hosting", hosting)
    held = Held(running, tmp_path)
    running.process.send_signal(number)
    assert running.wait_exit(SOON_S) == 0
    assert isinstance(held.error(), httpx.TransportError)
    assert "Traceback" not in running.output


def test_control_c(server: StartServer, scripts: Path, tmp_path: Path) -> None:
    """Control-C in a terminal, which every process of the server gets, stops it without tracebacks."""
    running = server(scripts / "steps.py", "--worker_count", "2")
    running.wait_until(lambda: running.stdout.count("ready for serving") == 2)
    held = Held(running, tmp_path)
    os.killpg(running.process.pid, signal.SIGINT)
    assert running.wait_exit(SOON_S) == 0
    assert isinstance(held.error(), httpx.TransportError)
    assert "Traceback" not in running.output


@hostings
def test_patience_ends(server: StartServer, scripts: Path, tmp_path: Path, hosting: str) -> None:
    """A run() that does not come back within the graceful timeout is given up."""
    running = server(scripts / "steps.py", "--hosting", hosting, env={"AZMLINFSRV_GRACEFUL_TIMEOUT": "1"})
    held = Held(running, tmp_path)
    started = time.monotonic()
    running.process.send_signal(signal.SIGTERM)
    assert running.wait_exit(SOON_S) == 0
    assert time.monotonic() - started > 0.9
    assert isinstance(held.error(), httpx.TransportError)


@pytest.mark.parametrize("send", [os.kill, os.killpg], ids=["SIGTERM", "Control-C"])
def test_a_stop_during_init(server: StartServer, tmp_path: Path, send: Callable[[int, int], None]) -> None:
    """A stop while init() runs ends it, with 0, and is not reported as a failure of the script."""
    started = tmp_path / "started"
    source = f"""
        import time


        def init():
            open({str(started)!r}, "w").close()
            time.sleep(30)


        def run(data):
            return data
    """
    running = server(source, wait=False)
    running.wait_until(started.exists)
    send(running.process.pid, signal.SIGTERM if send is os.kill else signal.SIGINT)
    assert running.wait_exit(SOON_S) == 0
    assert "init function failed" not in running.output and "Traceback" not in running.output


def test_a_stop_that_the_script_swallows(server: StartServer, tmp_path: Path) -> None:
    """A stop while code runs that catches everything is made up for once the script is loaded."""
    started, go = tmp_path / "started", tmp_path / "go"
    source = f"""
        import os
        import time


        def init():
            open({str(started)!r}, "w").close()
            while not os.path.exists({str(go)!r}):
                try:
                    time.sleep(0.01)
                except BaseException:
                    open({str(go)!r}, "w").close()


        def run(data):
            return data
    """
    running = server(source, wait=False)
    running.wait_until(started.exists)
    running.process.send_signal(signal.SIGTERM)
    assert running.wait_exit(SOON_S) == 0


def test_ready_tells_of_the_stop(server: StartServer, scripts: Path, tmp_path: Path) -> None:
    """A probe over a connection that is open learns that the server is stopping, before the connection ends."""
    running = server(scripts / "steps.py")
    held = Held(running, tmp_path)
    with socket.create_connection(("127.0.0.1", running.port), 10) as probe:
        probe.sendall(b"GET /ready HTTP/1.1\r\nHo")
        running.wait_ready()
        running.process.send_signal(signal.SIGTERM)
        running.wait_until(lambda: refuses(running))
        probe.sendall(b"st: t\r\n\r\n")
        assert probe.recv(1000).startswith(b"HTTP/1.1 503 ")
    assert held.release().status_code == 200
    assert running.wait_exit(SOON_S) == 0
