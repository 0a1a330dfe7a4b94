"""The single process answers like the workers under gunicorn."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.process.conftest import SharedServer

if TYPE_CHECKING:
    import httpx

pytestmark = pytest.mark.process

VARYING = ("date", "x-ms-run-fn-exec-ms")
IDS = {"x-request-id": "A", "x-ms-client-request-id": "C"}
JSON = {"Content-Type": "application/json"}

REQUESTS: dict[str, tuple[str, dict[str, Any]]] = {
    "root": ("GET /", {}),
    "ready": ("GET /ready", {}),
    "swagger": ("GET /swagger.json?version=3", {}),
    "score": ("POST /score", {"content": json.dumps({"data": [[1, 2]]}), "headers": JSON}),
    "query": ("GET /score?data=[[1,2]]&scale=1", {}),
    "bad": ("POST /score", {"content": b"{", "headers": JSON}),
    "wrong type": ("POST /score", {"content": b"{}"}),
    "options": ("OPTIONS /score", {}),
    "preflight": ("OPTIONS /score", {"headers": {"Origin": "http://a.test", "Access-Control-Request-Method": "POST"}}),
    "missing": ("GET /nothing", {}),
    "method": ("DELETE /score", {}),
    "head": ("HEAD /", {}),
    "long id": ("GET /", {"headers": {"x-ms-request-id": "x" * 101}}),
}


def facts(response: httpx.Response) -> dict[str, object]:
    """Return what must be the same of an answer."""
    headers = [(name, value) for name, value in response.headers.multi_items() if name not in VARYING]
    return {"status": response.status_code, "headers": headers, "body": response.content}


@pytest.mark.parametrize("name", REQUESTS)
def test_same_answers(shared_server: SharedServer, name: str) -> None:
    """Status, header fields and body of an answer are the same, whatever hosts the script."""
    line, arguments = REQUESTS[name]
    method, _, target = line.partition(" ")
    headers = {**IDS, **arguments.get("headers", {})}
    answers = []
    for hosting in ("gunicorn", "single"):
        running = shared_server("schema.py", "--hosting", hosting, "--access_control_allow_origins", "*")
        sent = running.client.request(method, target, **{**arguments, "headers": headers})
        answers.append(facts(sent))
    assert answers[0] == answers[1]
    assert ("x-request-id", "A") in answers[0]["headers"]  # type: ignore[operator]


def test_settings_of_workers_are_warned_of(shared_server: SharedServer) -> None:
    """More than one worker cannot be had in a single process, and the log says so."""
    running = shared_server("steps.py", "--hosting", "single", "--worker_count", "2")
    assert "WORKER_COUNT is 2" in running.output
    assert running.client.post("/score", content='{"do": "pid"}').json() == running.process.pid
