"""nginx in front of the server, really run: what clients get through it."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from azmlinfsrv.errors import NOT_FOUND
from tests.conftest import MEASURED, Record, StartServer
from tests.ports import ReservedPort
from tests.process.asking import answer_of, at_once
from tests.process.conftest import SharedServer
from tests.process.fronted import UUID, assert_error, parts, raw
from tests.servers import RunningServer, server_environment

pytestmark = [pytest.mark.process, pytest.mark.usefixtures("nginx")]

MIB = 1024 * 1024


@pytest.fixture(scope="module")
def shared_address() -> Iterator[str]:
    """The address of the server that the tests of this module share."""
    with ReservedPort() as port:
        yield f"127.0.0.1:{port.number}"


@pytest.fixture
def fronted(shared_address: str, shared_server: SharedServer) -> RunningServer:
    """A server behind nginx that the tests of this module share; it takes bodies of up to 1000 bytes."""
    return shared_server("steps.py", "--nginx", "--server_address", shared_address, "--max_body_bytes", "1000")


def parsed(answer: bytes) -> httpx.Response:
    """Return an answer that came as bytes."""
    head, _, body = answer.partition(b"\r\n\r\n")
    line, *fields = head.decode("latin-1").split("\r\n")
    pairs = [(name, value.strip()) for name, _, value in (field.partition(":") for field in fields)]
    return httpx.Response(int(line.split()[1]), headers=pairs, content=body)


def test_an_answer_is_the_same_as_without(fronted: RunningServer) -> None:
    """Status, body, ids and the Server field of an answer are the server's."""
    response = fronted.client.post("/score", content=b'{"do": "calls"}', headers={"x-request-id": "an id"})
    assert response.status_code == 200 and isinstance(response.json(), int)
    assert response.headers["x-request-id"] == response.headers["x-ms-request-id"] == "an id"
    assert response.headers.get_list("server") == ["azmlinfsrv"]
    assert UUID.fullmatch(fronted.client.get("/").headers["x-request-id"])


def test_one_access_line_with_the_clients_address(fronted: RunningServer) -> None:
    """A request has one access line, and a made-up X-Forwarded-For is not in its place of the address."""
    agent = "one-line"
    headers = {"User-Agent": agent, "X-Forwarded-For": "203.0.113.7"}
    assert fronted.client.post("/score", content=b'{"do": "calls"}', headers=headers).status_code == 200
    fronted.wait_until(lambda: agent in fronted.stdout)
    fronted.client.get("/live")
    fronted.wait_until(lambda: "/live" in fronted.stdout)
    (line,) = [line for line in fronted.stdout.splitlines() if agent in line]
    assert re.search(r" I \[\d+\] gunicorn.access - 127\.0\.0\.1 - - \[", line)


ERRORS = {
    "body by its length": (
        (
            b"POST / HTTP/1.1\r\nHost: a\r\nx-request-id: mine\r\nConnection: close\r\nContent-Length: 1001\r\n\r\n"
            + b"x" * 1001,
        ),
        413,
        "The request body is larger than 1000 bytes",
    ),
    "chunked body": (
        (
            b"POST /score HTTP/1.1\r\nHost: a\r\nx-request-id: mine\r\nConnection: close\r\n"
            b"Transfer-Encoding: chunked\r\n\r\n",
            b"3e9\r\n" + b"x" * 1001 + b"\r\n0\r\n\r\n",
        ),
        413,
        "The request body is larger than 1000 bytes",
    ),
    "not HTTP": ((b"x-request-id: mine\r\n\r\n",), 400, "The request is not valid HTTP/1.1"),
    "no host": (
        (b"GET / HTTP/1.1\r\nx-request-id: mine\r\n\r\n",),
        400,
        "The request is not valid HTTP/1.1",
    ),
    "long line": ((b"GET /" + b"a" * 40000 + b" HTTP/1.1\r\nHost: a\r\n\r\n",), 431, "The request header is too large"),
    "long field": (
        (b"GET / HTTP/1.1\r\nHost: a\r\nx-request-id: mine\r\nA: " + b"a" * 40000 + b"\r\n\r\n",),
        431,
        "The request header is too large",
    ),
    "TRACE": (
        (b"TRACE / HTTP/1.1\r\nHost: a\r\nx-request-id: mine\r\nConnection: close\r\n\r\n",),
        405,
        "The method is not allowed for the requested URL.",
    ),
    "coding": (
        (b"POST / HTTP/1.1\r\nHost: a\r\nx-request-id: mine\r\nTransfer-Encoding: gzip\r\n\r\n",),
        501,
        "The transfer coding is not supported",
    ),
    "pages of errors": (
        (b"GET /.azmlinfsrv/413 HTTP/1.1\r\nHost: a\r\nx-request-id: mine\r\nConnection: close\r\n\r\n",),
        404,
        NOT_FOUND,
    ),
    "version": ((b"GET / HTTP/3.1\r\nHost: a\r\n\r\n",), 505, "The HTTP version is not supported"),
}


@pytest.mark.parametrize("name", ERRORS)
def test_errors_of_nginx_are_the_servers(fronted: RunningServer, name: str) -> None:
    """What nginx refuses itself is answered in the server's JSON, with ids: the client's where it was read."""
    pieces, status, message = ERRORS[name]
    response = parsed(raw(fronted, *pieces))
    assert_error(response, status, message)
    request_id = response.headers["x-request-id"]
    assert request_id == response.headers["x-ms-request-id"]
    assert request_id == "mine" or UUID.fullmatch(request_id)
    if status in (413, 405) or name == "long field":
        assert request_id == "mine"


@pytest.mark.parametrize(
    ("sent", "answered"),
    [
        ({}, "A A -"),
        ({"x-request-id": "a"}, "a a -"),
        ({"x-ms-request-id": "b"}, "A b b"),
        ({"x-ms-client-request-id": "c"}, "A c c"),
        ({"x-request-id": "a", "x-ms-request-id": "b"}, "a b b"),
        ({"x-ms-request-id": "b", "x-ms-client-request-id": "c"}, "A b c"),
        ({"x-request-id": "a", "x-ms-client-request-id": "c"}, "a c c"),
        ({"x-request-id": "a", "x-ms-request-id": "b", "x-ms-client-request-id": "c"}, "a b c"),
        ({"x-request-id": "a" * 101}, "A A -"),
    ],
)
def test_ids_of_errors(fronted: RunningServer, sent: dict[str, str], answered: str) -> None:
    """The documented table of ids holds for nginx's own answers; an id that is too long is replaced."""
    response = fronted.client.post("/score", content=b"x" * 1001, headers={**sent, "trace-id": "t"})
    names = ("x-request-id", "x-ms-request-id", "x-ms-client-request-id")
    values = [response.headers.get(name, "-") for name in names]
    assert " ".join("A" if UUID.fullmatch(value) else value for value in values) == answered
    assert response.headers["trace-id"] == "t"


def test_the_server_refuses_ids_that_are_too_long(fronted: RunningServer) -> None:
    """A request id of 101 characters gets the server's 431, also where the page is cached."""
    for path in ("/swagger.json", "/swagger.json"):
        response = fronted.client.get(path, headers={"x-request-id": "a" * 101})
        assert response.status_code == 431 and "100 characters" in response.json()["message"]
        assert fronted.client.get(path).status_code == 200


def test_lines_of_what_nginx_answers(fronted: RunningServer) -> None:
    """A request that never reaches the server has its access line too, in the server's format."""
    fronted.client.post("/score", content=b"x" * 1001, headers={"User-Agent": "too-large"})
    fronted.wait_until(lambda: "too-large" in fronted.stdout)
    (line,) = [line for line in fronted.stdout.splitlines() if "too-large" in line]
    pattern = r'\S+ \S+ I \[\d+\] gunicorn.access - 127.0.0.1 - - \[[^\]]+\] "POST /score HTTP/1.1" 413 \d+ "-" '
    assert re.match(pattern, line)
    fronted.wait_until(lambda: "client intended to send too large body" in fronted.stderr)
    assert re.search(r"E \[\d+\] nginx - client intended", fronted.stderr)


def test_schema_and_page_are_cached(fronted: RunningServer) -> None:
    """Of many requests for a page, few reach the server; the query counts, ids are each request's own."""
    for query in ("?version=2&n=1", "?version=3&n=1"):
        answers = [fronted.client.get("/swagger.json" + query) for _ in range(20)]
        assert {answer.status_code for answer in answers} == {200}
        assert len({answer.headers["x-request-id"] for answer in answers}) == 20
        assert len({answer.text for answer in answers}) == 1
        assert all(len(answer.headers.get_list("x-request-id")) == 1 for answer in answers)
    assert fronted.client.get("/swagger.json?version=2").json()["swagger"] == "2.0"
    assert fronted.client.get("/swagger.json?version=3").json()["openapi"].startswith("3.")
    assert fronted.client.get("/swagger.json?version=9").status_code == 404
    assert {fronted.client.get("/docs").status_code for _ in range(9)} == {200}
    marked = [line for line in fronted.stdout.splitlines() if "azmlinfsrv - GET /swagger.json?version=2&n=1" in line]
    assert 1 <= len(marked) <= 5
    fronted.wait_until(lambda: fronted.stdout.count('"GET /swagger.json?version=2&n=1 HTTP/1.1" 200') == 20)


def test_credentials_are_not_answered_from_the_cache(fronted: RunningServer) -> None:
    """A request with Authorization always reaches the server."""
    for _ in range(3):
        headers = {"Authorization": "Bearer x"}
        assert fronted.client.get("/swagger.json?auth=1", headers=headers).status_code == 200
    fronted.wait_until(lambda: fronted.stdout.count("azmlinfsrv - GET /swagger.json?auth=1 200") == 3)


def test_connections_are_kept(fronted: RunningServer) -> None:
    """Many requests of a client use one connection to nginx, and nginx few to the worker."""
    for _ in range(30):
        assert fronted.client.get("/live").status_code == 200
    (worker,) = parts(fronted)[1].children()
    kept = [each for each in worker.net_connections("tcp") if each.status == psutil.CONN_ESTABLISHED]
    assert 1 <= len(kept) <= 10


def test_a_slow_upload_holds_no_connection_of_the_worker(fronted: RunningServer) -> None:
    """While a client sends its body bit by bit, the server has no connection of it; then it is answered."""
    (worker,) = parts(fronted)[1].children()
    head = b"POST /score HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 15\r\n\r\n"

    def count() -> int:
        return sum(each.status == psutil.CONN_ESTABLISHED for each in worker.net_connections("tcp"))

    fronted.client.get("/live")
    before = count()
    socks = [socket.create_connection(("127.0.0.1", fronted.port)) for _ in range(20)]
    for sock in socks:
        sock.sendall(head + b'{"do": ')
    assert fronted.client.get("/live").status_code == 200  # nginx has taken those before it
    assert count() <= before + 1
    for sock in socks:
        sock.sendall(b'"calls"}')
        answer = b""
        while data := sock.recv(65536):
            answer += data
        assert answer.startswith(b"HTTP/1.1 200 ")
        sock.close()


def test_a_stream_comes_as_it_is_made(server: StartServer, scripts: Path, internal: str, tmp_path: Path) -> None:
    """The first chunk is here before the second is made: nginx keeps nothing back."""
    running = server(scripts / "streams.py", "--nginx", "--server_address", internal)
    go = tmp_path / "go"
    with running.client.stream("GET", "/score", params={"go": str(go)}) as response:
        chunks = response.iter_raw()
        assert next(chunks) == b"first"
        go.touch()
        assert b"".join(chunks) == b"second"
        assert "x-accel-buffering" not in response.headers


def test_health_port(server: StartServer, scripts: Path, internal: str) -> None:
    """SEPERATE_HEALTH_ENDPOINT has the health process listen on the second port, beside nginx."""
    with ReservedPort() as port:
        running = server(
            scripts / "steps.py",
            *("--nginx", "--server_address", internal, "--health_port", str(port.number)),
            env={"SEPERATE_HEALTH_ENDPOINT": "true"},
        )
        assert httpx.get(f"http://127.0.0.1:{port.number}/", trust_env=False).text == "Healthy"
        assert answer_of(running, "sleep", seconds=0) == "slept"


@pytest.mark.parametrize("hosting", ["gunicorn", "single"])
def test_unix_socket(server: StartServer, scripts: Path, hosting: str) -> None:
    """The server may listen on a Unix socket, which is gone afterwards; the client's address is still known."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o711)
        path = Path(folder) / "a b;c.sock"
        running = server(
            scripts / "steps.py", "--nginx", "--hosting", hosting, env={"AZMLINFSRV_SERVER_ADDRESS": f"unix:{path}"}
        )
        assert path.is_socket()
        assert answer_of(running, "sleep", seconds=0) == "slept"
        running.wait_until(lambda: "gunicorn.access - 127.0.0.1 - - [" in running.stdout)
        assert running.stop() == 0
        assert not path.exists()


def test_two_workers(server: StartServer, scripts: Path, internal: str) -> None:
    """With several workers, requests through nginx are answered by them; by which is the kernel's choice."""
    running = server(scripts / "steps.py", "--nginx", "--server_address", internal, env={"WORKER_COUNT": "2"})
    running.wait_until(lambda: running.stdout.count("ready for serving") == 2)
    workers = {int(pid) for pid in re.findall(r"Worker with pid (\d+) ready", running.stdout)}
    assert len(workers) == 2
    assert set(at_once(8, running, "pid")) <= workers


def test_bodies_of_100_mb(server: StartServer, internal: str, record_property: Record) -> None:
    """A body of 100 MB passes, one of 101 MB gets a JSON 413, and the worker never holds 2.5 times the body."""
    running = server(
        """
        import resource
        from azureml.contrib.services.aml_request import rawhttp

        def init():
            pass

        @rawhttp
        def run(request):
            size = len(request.get_data())
            return [size, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss]
        """,
        "--nginx",
        "--server_address",
        internal,
    )
    _, before = running.client.post("/score", content=b"x").json()
    size, after = running.client.post("/score", content=bytes(100 * MIB)).json()
    assert size == 100 * MIB
    record_property(MEASURED, f"100 MB: memory of the worker {before / 1024:.0f} MB, at most {after / 1024:.0f} MB")
    assert (after - before) * 1024 <= 2.5 * size
    response = running.client.post("/score", content=bytes(101 * MIB))
    assert_error(response, 413, f"The request body is larger than {100 * MIB} bytes")
    assert running.client.post("/score", content=b"x").json()[1] == after


def test_print_nginx_config(nginx: str, tmp_path: Path) -> None:
    """`--print-nginx-config` prints what `nginx -t` takes, needs no script, and exits with 0."""
    command = [sys.executable, "-m", "azmlinfsrv", "--print-nginx-config", "--port", "5999"]
    printed = subprocess.run(
        command, capture_output=True, text=True, check=False, env=server_environment({}), cwd=tmp_path
    )
    assert printed.returncode == 0, printed.stderr
    text = printed.stdout
    assert "listen 0.0.0.0:5999 " in text
    path = tmp_path / "nginx.conf"
    path.write_text(text, "utf-8")
    check = subprocess.run(
        [nginx, "-t", "-p", f"{tmp_path}/", "-c", str(path)], capture_output=True, text=True, check=False
    )
    assert check.returncode == 0, check.stderr


@pytest.mark.parametrize(
    "sent", [b"POST /score HTTP/1.1\r\nHost:", b"POST /score HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nx"]
)
def test_clients_that_stop_sending(server: StartServer, scripts: Path, internal: str, sent: bytes) -> None:
    """A header block or a body that stays away for too long costs the client its connection; nginx sends no 408."""
    running = server(
        scripts / "steps.py",
        *("--nginx", "--server_address", internal),
        env={"AZMLINFSRV_HEADER_TIMEOUT_MS": "300", "AZMLINFSRV_BODY_TIMEOUT_MS": "300"},
    )
    started = time.monotonic()
    assert raw(running, sent) == b""
    assert 0.3 <= time.monotonic() - started < 5
    assert answer_of(running, "sleep", seconds=0) == "slept"
