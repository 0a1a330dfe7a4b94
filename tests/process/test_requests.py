"""Requests that a real server must refuse, and its limits: the table "Bad input gets"."""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Iterator

import httpx
import pytest

from tests.process.asking import PATIENCE_S, ask
from tests.process.conftest import SharedServer
from tests.servers import RunningServer

pytestmark = pytest.mark.process

SMALL_LIMITS = {"AZMLINFSRV_MAX_BODY_BYTES": "200000", "AZMLINFSRV_MAX_HEADER_BYTES": "8192"}
JSON = {"Content-Type": "application/json"}


@pytest.fixture
def schema(shared_server: SharedServer) -> RunningServer:
    """A server of a decorated script."""
    return shared_server("schema.py")


@pytest.fixture
def limited(shared_server: SharedServer) -> RunningServer:
    """A server with small limits."""
    return shared_server("steps.py", env=SMALL_LIMITS)


def assert_is_error(response: httpx.Response, status: int) -> str:
    """Check the shape that every error has, and return its message."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/json"
    assert response.headers["x-request-id"] and response.headers["x-ms-request-id"]
    content = response.json()
    assert set(content) == {"message"}
    message: str = content["message"]
    return message


def test_a_good_request(schema: RunningServer) -> None:
    """A request that has what the schema wants is scored."""
    response = schema.client.post("/score", json={"data": [[1, 2], [3, 4]], "scale": 3})
    assert (response.status_code, response.json()) == (200, [9.0, 21.0])
    assert response.headers["x-ms-run-function-failed"] == "False"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "POST body is empty. Expecting a JSON dictionary."),
        (b"{", "POST body could not be decoded as JSON"),
        (b"[1]", "POST body should be a JSON dictionary."),
        (b'"text"', "POST body should be a JSON dictionary."),
        (b'{"a": "\xff"}', "Input cannot be decoded as UTF-8"),
        (b"{}", "A value is not provided for the 'data' parameter."),
        (b'{"data": "text"}', "The 'data' parameter is not valid. Expected an array of float64"),
        (b'{"data": [[1, 2, 3]]}', "The 'data' parameter is not valid. Expected an array of float64"),
        (b'{"data": [[1, 2]], "scale": "two"}', "The 'scale' parameter is not valid. Expected a value of type int"),
    ],
    ids=["empty", "not JSON", "list", "string", "not UTF-8", "missing", "wrong type", "wrong shape", "wrong scalar"],
)
def test_bad_bodies(schema: RunningServer, content: bytes, message: str) -> None:
    """A body that cannot be the input is a 400 with the released server's message, or the contract's."""
    response = schema.client.post("/score", content=content, headers=JSON)
    assert assert_is_error(response, 400).startswith(message)
    assert response.headers["x-ms-run-function-failed"] == "False"


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded", ""])
def test_wrong_content_types(schema: RunningServer, content_type: str) -> None:
    """A body that does not say that it is JSON is a 415 with the released server's message."""
    headers = {"Content-Type": content_type} if content_type else {}
    response = schema.client.post("/score", content=b'{"data": [[1, 2]]}', headers=headers)
    assert assert_is_error(response, 415) == "Expects Content-Type to be application/json"


def test_a_body_that_is_not_utf_8(limited: RunningServer) -> None:
    """An undecorated script, which gets text, gets no bytes that are none."""
    response = limited.client.post("/score", content=b"\xff\xfe")
    assert assert_is_error(response, 400).startswith("Input cannot be decoded as UTF-8")


def test_a_failing_run(limited: RunningServer) -> None:
    """An exception of run() is a 500 without details; the log has the traceback and the request id."""
    content = json.dumps({"do": "fail", "text": "no weights"})
    response = limited.client.post("/score", content=content, headers={"x-request-id": "failing-1"})
    expected = "An unexpected error occurred in scoring script. Check the logs for more info."
    assert assert_is_error(response, 500) == expected
    assert response.headers["x-ms-run-function-failed"] == "True"
    assert "Request id: failing-1" in limited.stdout
    report = limited.stdout.partition("Encountered Exception: Traceback (most recent call last):\n")[2]
    report = report.partition("Request id: failing-1")[0]
    assert re.search(r'steps\.py", line \d+, in fail\n\s+raise ValueError\(text\)\nValueError: no weights\n$', report)
    assert "azmlinfsrv" not in report


# -- limits ----------------------------------------------------------------------------------------------------


def pieces(size: int) -> Iterator[bytes]:
    """Yield a body of this size, whose length the client does not tell."""
    for _ in range(size // 50_000):
        yield b" " * 50_000


@pytest.mark.parametrize("declared", [True, False])
def test_a_body_over_the_limit(limited: RunningServer, declared: bool) -> None:
    """A body over the limit is a 413 in JSON that the client can read, and a closed connection."""
    content = b" " * 5_000_000 if declared else pieces(5_000_000)
    response = httpx.post(f"{limited.url}/score", content=content, timeout=PATIENCE_S, trust_env=False)
    assert "200000" in assert_is_error(response, 413)
    assert response.headers["connection"] == "close"


def test_a_body_over_the_default_limit(shared_server: SharedServer) -> None:
    """The default limit is 100 MB: one byte more is a 413 before the body is sent."""
    server = shared_server("streams.py")
    head = f"POST /score HTTP/1.1\r\nHost: t\r\nContent-Length: {100 * 1024 * 1024 + 1}\r\n\r\n"
    with socket.create_connection(("127.0.0.1", server.port), 10) as client:
        client.sendall(head.encode())
        answer = read_to_end(client)
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert set(json.loads(answer.partition(b"\r\n\r\n")[2])) == {"message"}


def test_a_header_block_over_the_limit(limited: RunningServer) -> None:
    """A header block over its limit is a 431 in JSON that the client can read, and a closed connection."""
    response = httpx.get(f"{limited.url}/", headers={"X-Big": "x" * 50_000}, timeout=PATIENCE_S, trust_env=False)
    assert_is_error(response, 431)
    assert response.headers["connection"] == "close"


def test_the_next_client_is_served(limited: RunningServer) -> None:
    """After all that, others are served by the same process."""
    before = ask(limited, "pid").json()
    with socket.create_connection(("127.0.0.1", limited.port), 10) as client:
        client.sendall(b"nonsense\r\n\r\n")
        assert read_to_end(client).startswith(b"HTTP/1.1 400 ")
    assert ask(limited, "pid").json() == before


def read_to_end(client: socket.socket) -> bytes:
    """Return what the server sends until it closes the connection cleanly."""
    answer = b""
    while piece := client.recv(65536):
        answer += piece
    return answer
