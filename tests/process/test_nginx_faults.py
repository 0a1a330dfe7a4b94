"""nginx in front of a server that fails, is slow, absent or being replaced: what clients get."""

from __future__ import annotations

import json
import signal
import socket
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import psutil
import pytest

from azmlinfsrv.cors import Cors
from azmlinfsrv.errors import RUN_FAILED
from azmlinfsrv.messages import Response
from azmlinfsrv.nginx import Site, find, render
from azmlinfsrv.settings import Settings
from tests.conftest import MEASURED, Record, StartServer
from tests.ports import ReservedPort
from tests.process.asking import PATIENCE_S, Held, ask
from tests.process.fronted import UUID, assert_error, lives, load, parts
from tests.servers import RunningServer, server_environment
from tests.unit.http_fakes import request

pytestmark = [pytest.mark.process, pytest.mark.usefixtures("nginx")]

MIB = 1024 * 1024
Alone = Callable[..., RunningServer]


@pytest.fixture
def alone(nginx: str, tmp_path: Path) -> Iterator[Alone]:
    """A function that runs nginx on the configuration of some settings, with texts in it replaced, and no server."""
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        port = stack.enter_context(ReservedPort()).number

        def start(settings: Settings, **replaced: str) -> RunningServer:
            text = render(settings, Site((f"127.0.0.1:{port}",), 64, modules=find(nginx).modules))
            for name, lines in replaced.items():
                before = {"read_timeout": "proxy_read_timeout 1000s;", "locations": "location / {"}[name]
                assert before in text
                text = text.replace(before, lines)
            path = Path(folder) / "nginx.conf"
            path.write_text(text, "utf-8")
            command = [nginx, "-p", f"{folder}/", "-c", str(path)]
            running = RunningServer(command, port, tmp_path, server_environment({}))
            stack.callback(running.stop)
            running.wait_until(lambda: _connects(port))
            return running

        yield start


def _connects(port: int) -> bool:
    with socket.socket() as sock:
        return sock.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture
def nobody() -> Iterator[str]:
    """An address that nobody listens on."""
    with ReservedPort() as port:
        yield f"127.0.0.1:{port.number}"


def test_a_killed_worker_is_a_502(server: StartServer, scripts: Path, internal: str, tmp_path: Path) -> None:
    """The client of a worker that is killed gets a JSON 502 with its id, whose line is nginx's; then all is well."""
    running = server(scripts / "steps.py", "--nginx", "--server_address", internal)
    held = Held(running, tmp_path)
    (worker,) = parts(running)[1].children()
    worker.kill()
    response = held.release()
    assert_error(response, 502, "The server cannot be reached, or ended before it answered")
    assert UUID.fullmatch(response.headers["x-request-id"])
    assert ask(running, "sleep", seconds=0).status_code == 200
    running.wait_until(lambda: running.stdout.count('"POST /score HTTP/1.1" 502') == 1)  # nginx's line comes by a pipe
    assert json.loads(ask(running, "pid").text) != worker.pid


def test_an_absent_server_is_a_502(alone: Alone, nobody: str) -> None:
    """Where nobody listens behind nginx, clients get a JSON 502 with their ids."""
    running = alone(Settings(nginx=True, server_address=nobody))
    response = running.client.post("/score", content=b"{}", headers={"x-ms-client-request-id": "mine"})
    assert_error(response, 502, "The server cannot be reached, or ended before it answered")
    assert UUID.fullmatch(response.headers["x-request-id"])
    assert response.headers["x-ms-client-request-id"] == "mine"


def test_a_server_that_does_not_answer(alone: Alone) -> None:
    """When the server gives no answer in time, nginx answers a JSON 504."""
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        settings = Settings(nginx=True, server_address=f"127.0.0.1:{silent.getsockname()[1]}")
        running = alone(settings, read_timeout="proxy_read_timeout 1s;")
        response = running.client.post("/score", content=b"{}", headers={"x-request-id": "slow"})
    assert_error(response, 504, "The server did not answer in time")
    assert response.headers["x-request-id"] == "slow"


def test_a_503_of_nginx(alone: Alone, nobody: str) -> None:
    """A location that an administrator has put out of service answers a JSON 503 with its ids."""
    running = alone(
        Settings(nginx=True, server_address=nobody), locations="location = /away { return 503; } location / {"
    )
    response = running.client.get("/away", headers={"x-request-id": "mine"})
    assert_error(response, 503, "The server is not available")
    assert response.headers["x-request-id"] == "mine"


def test_a_script_that_fails(server: StartServer, scripts: Path, internal: str) -> None:
    """The server's own errors pass as they are: a run() that fails, with its ids and what tells that it was called."""
    running = server(scripts / "steps.py", "--nginx", "--server_address", internal)
    for url in (running.url, f"http://{internal}"):
        failing = b'{"do": "fail", "text": "x"}'
        response = httpx.post(f"{url}/score", content=failing, headers={"x-request-id": "mine"}, trust_env=False)
        assert response.status_code == 500
        assert response.json() == {"message": RUN_FAILED}
        assert response.headers["x-request-id"] == "mine"
        assert response.headers["x-ms-run-function-failed"] == "True"


@pytest.mark.parametrize("path", ["/" + "a" * 40000, "/"])
def test_a_header_that_is_too_large_is_the_servers_431(
    server: StartServer, scripts: Path, internal: str, path: str
) -> None:
    """A request line or a field that is too long gets from nginx what it gets from the server: 431, not 414."""
    front = server(scripts / "steps.py", "--nginx", "--server_address", internal)
    direct = server(scripts / "steps.py")
    headers = {"a": "a" * 40000} if path == "/" else {}
    answers = [running.client.get(path, headers=headers) for running in (front, direct)]
    assert [answer.status_code for answer in answers] == [431, 431]
    assert answers[0].json() == answers[1].json()


CORS_NAMES = ("access-control-allow-origin", "access-control-allow-private-network", "vary")


@pytest.mark.parametrize(
    "origins",
    [
        "*",
        "https://www.One.test",
        "one.test",
        "https://b.test, https://a.test, one.test",
        r"https://.*\.one\.test$",
        r"https?://(?:a|b)\.test(:\d+)?$, https://a.test",
    ],
)
def test_errors_of_nginx_may_be_read_by_the_pages_that_may(alone: Alone, nobody: str, origins: str) -> None:
    """The cross-origin headers of an answer of nginx's are those that the server would give it."""
    running = alone(Settings(nginx=True, server_address=nobody, cors_origins=origins))
    asking = [
        *({"origin": host} for host in ("https://www.one.test", "https://www.one.test.evil.test", "HTTPS://ONE.test")),
        *({"origin": host} for host in ("http://one.test", "https://a.test", "https://a.test:80", "null", "one.test")),
        {"origin": "https://a.test", "access-control-request-private-network": "true"},
        {"origin": "https://b.test", "access-control-request-private-network": "TRUE"},
        {},
    ]
    for headers in asking:
        expected = Response(502, b"", [])
        Cors(origins).apply(
            request("POST", "/score", **{name.replace("-", "_"): value for name, value in headers.items()}), expected
        )
        response = running.client.post("/score", headers=headers)
        assert response.status_code == 502
        found = {name: response.headers[name] for name in CORS_NAMES if name in response.headers}
        assert found == {name.lower(): value for name, value in expected.headers}, headers


def test_a_slow_reader_does_not_hold_the_worker(server: StartServer, internal: str) -> None:
    """Nginx takes a large answer whole from the worker, whose connection serves others while its client reads."""
    size = 32 * MIB
    running = server(
        f"def init():\n    pass\n\n\ndef run(data):\n    return 'x' * {size}\n",
        *("--nginx", "--server_address", internal),
    )
    (worker,) = parts(running)[1].children()

    def is_free() -> bool:
        """Return whether one connection is all that the worker has, though a request has just been answered."""
        assert running.client.get("/live").status_code == 200
        found = [each for each in worker.net_connections("tcp") if each.status == psutil.CONN_ESTABLISHED]
        return len(found) == 1

    with socket.socket() as slow:
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        slow.connect(("127.0.0.1", running.port))
        slow.settimeout(PATIENCE_S)
        slow.sendall(b"POST /score HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}")
        answer = bytearray(slow.recv(1000))
        assert answer.startswith(b"HTTP/1.1 200 ")
        running.wait_until(is_free)
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, MIB)
        while data := slow.recv(MIB):
            answer += data
    assert len(answer.partition(b"\r\n\r\n")[2]) == size + 2


@pytest.mark.parametrize("how", ["reload", "max_requests"])
def test_no_request_is_lost_to_a_new_worker(
    server: StartServer, scripts: Path, internal: str, how: str, record_property: Record
) -> None:
    """A worker that is replaced under load, by a reload or after its requests, costs no client an answer."""
    env = {"GUNICORN_CMD_ARGS": "--max-requests 300"} if how == "max_requests" else {}
    running = server(scripts / "steps.py", "--nginx", "--server_address", internal, env=env)
    (old,) = parts(running)[1].children()
    with load(running) as clients:
        clients.wait_for(20, running)
        if how == "reload":
            running.process.send_signal(signal.SIGHUP)
        running.wait_until(lambda: not lives(old), 2 * PATIENCE_S)
        clients.wait_for(50, running)
    seen = f"longest without success {clients.longest_s:.2f} s, seen {dict(clients.seen)}"
    record_property(MEASURED, f"{how}: {seen}")
    assert set(clients.seen) == {"200"}


def test_a_reload_answers_what_is_on_its_way(server: StartServer, scripts: Path, internal: str) -> None:
    """A request on a connection that nginx kept, to a worker that makes way, is answered, as the last one there."""
    running = server(scripts / "steps.py", "--nginx", "--server_address", internal)
    (old,) = parts(running)[1].children()
    host, _, port = internal.rpartition(":")
    with socket.create_connection((host, int(port)), PATIENCE_S) as kept:
        running.process.send_signal(signal.SIGHUP)

        def is_last() -> bool:
            """Ask once more, and return whether the answer says that it is the last."""
            kept.sendall(b"GET /ready HTTP/1.1\r\nHost: a\r\n\r\n")
            answer = kept.recv(4096)
            assert answer.startswith(b"HTTP/1.1 200 "), answer
            return b"connection: close" in answer.lower()

        running.wait_until(is_last)
    running.wait_until(lambda: not lives(old))
