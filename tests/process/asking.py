"""What the tests ask of `scripts/steps.py`, and how they wait."""

from __future__ import annotations

import functools
import json
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx

from tests.servers import RunningServer, no_certificates

PATIENCE_S = 20.0


@functools.cache
def client() -> httpx.Client:
    """Return a client that is no server's own, so that it outlives them all; making one is slow."""
    return httpx.Client(timeout=PATIENCE_S, trust_env=False, headers={"Connection": "close"}, verify=no_certificates())


def post(server: RunningServer, content: str) -> httpx.Response:
    """Return the answer to a request with this body, over a connection of its own."""
    return client().post(f"{server.url}/score", content=content)


def ask(server: RunningServer, do: str, **arguments: Any) -> httpx.Response:
    """Return the answer of `steps.py`, over a connection of its own."""
    return post(server, json.dumps({"do": do, **arguments}))


def answer_of(server: RunningServer, do: str, **arguments: Any) -> Any:
    """Return the JSON value of a successful answer."""
    response = ask(server, do, **arguments)
    assert response.status_code == 200, f"{response.text}\n{server.output}"
    return response.json()


class Held:
    """A request whose `run()` has begun and ends when the test says so.

    Args:
        server: the server.
        folder: an empty folder of the test's.
        busy: whether it computes meanwhile, and does not sleep.
    """

    def __init__(self, server: RunningServer, folder: Path, *, busy: bool = False) -> None:
        started, self._go = folder / "started", folder / "go"
        self._pool = ThreadPoolExecutor(1)
        self._answer: Future[httpx.Response] = self._pool.submit(
            ask, server, "wait", started=str(started), go=str(self._go), busy=busy
        )
        self._pool.shutdown(wait=False)
        server.wait_until(started.exists, PATIENCE_S)

    def release(self) -> httpx.Response:
        """Let `run()` end, and return its answer.

        Raises:
            httpx.TransportError: the connection broke.
        """
        self._go.touch()
        return self._answer.result(PATIENCE_S)

    def error(self) -> BaseException | None:
        """Wait for the end of the request without letting `run()` end, and return what it raised."""
        return self._answer.exception(PATIENCE_S)


def at_once(count: int, server: RunningServer, do: str, **arguments: Any) -> list[Any]:
    """Return the values of so many requests that are sent together."""
    together = threading.Barrier(count)

    def send() -> Any:
        together.wait(PATIENCE_S)
        return answer_of(server, do, **arguments)

    with ThreadPoolExecutor(count) as pool:
        return [future.result(PATIENCE_S) for future in [pool.submit(send) for _ in range(count)]]
