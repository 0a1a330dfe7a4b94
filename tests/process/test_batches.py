"""Batches in a real server."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.conftest import StartServer
from tests.process.asking import client
from tests.scraping import Scraped

if TYPE_CHECKING:
    import httpx

pytestmark = pytest.mark.process

# The first call waits until the others have come, as a file says; so that they make a batch, however slow all are.
LISTS = """
    import json, os, threading
    from azmlinfsrv import batched

    def init():
        pass

    @batched(max_batch_size=8)
    def run(inputs):
        if inputs == ['"first"']:
            print("first has come")
            while not os.path.exists("go"):
                threading.Event().wait(0.01)
        if '"bad"' in inputs:
            raise ValueError("a bad input")
        return [{"input": json.loads(text), "of": len(inputs)} for text in inputs]
"""
SCHEMA = """
    import numpy as np
    from inference_schema.parameter_types.numpy_parameter_type import NumpyParameterType
    from inference_schema.schema_decorators import input_schema

    def init():
        pass

    @input_schema("data", NumpyParameterType(np.array([[1.0, 2.0]])))
    def run(data):
        return data.sum(axis=1).tolist()
"""


def test_requests_that_gather_are_one_call(server: StartServer, tmp_path: Path) -> None:
    """A real server scores together what came while it worked, retries alone, and counts the batches."""
    running = server(LISTS, cwd=tmp_path)
    names = ["a", "b", "c", "bad", "d"]

    def ask(name: str) -> httpx.Response:
        return client().post(f"{running.url}/score", json=name, headers={"x-request-id": f"id-{name}"})

    def in_flight() -> float:
        return Scraped(running.client.get("/metrics").text).total("requests_in_flight")

    with ThreadPoolExecutor(len(names) + 1) as pool:
        first = pool.submit(ask, "first")
        running.wait_until(lambda: "first has come" in running.stdout + running.stderr)
        rest = [pool.submit(ask, name) for name in names]
        running.wait_until(lambda: in_flight() == len(names) + 1)
        (tmp_path / "go").touch()
        answers = dict(zip(["first", *names], [each.result() for each in (first, *rest)], strict=True))
    assert {name: answer.status_code for name, answer in answers.items()} == {
        name: 500 if name == "bad" else 200 for name in answers
    }
    assert {answer.json()["of"] for answer in answers.values() if answer.status_code == 200} == {1}
    assert all(answer.json()["input"] == name for name, answer in answers.items() if name != "bad")
    assert all(answer.headers["x-request-id"] == f"id-{name}" for name, answer in answers.items())
    assert float(answers["a"].headers["x-ms-run-fn-exec-ms"]) >= 0
    assert "run() failed for a batch of 5 requests; each is scored alone: ValueError: a bad input" in running.output
    scraped = Scraped(running.client.get("/metrics").text)
    assert (scraped.total("batch_size_count"), scraped.total("batch_size_sum")) == (2, 6)


@pytest.mark.parametrize("threads", ["1", "2"])
def test_a_schema_script_in_batches_answers_as_without(server: StartServer, threads: str) -> None:
    """A script that knows nothing of batches gives every client its own rows, under load too."""
    running = server(SCHEMA, "--max_batch_size", "16", "--worker_threads", threads)

    def ask(number: int) -> tuple[int, httpx.Response]:
        rows = [[number, row] for row in range(number % 4 + 1)] if number % 10 else [["x", "y"]]
        return number, client().post(f"{running.url}/score", json={"data": rows})

    with ThreadPoolExecutor(16) as pool:
        for number, answer in pool.map(ask, range(200)):
            if number % 10:
                assert answer.json() == [number + row for row in range(number % 4 + 1)]
            else:
                assert answer.status_code == 400
    scraped = Scraped(running.client.get("/metrics").text)
    assert scraped.total("batch_size_sum") == sum(number % 4 + 1 for number in range(200) if number % 10)


def test_a_script_that_cannot_take_batches_does_not_start(server: StartServer) -> None:
    """The server ends with 3, and one line says why."""
    script = "def init():\n    pass\n\ndef run(data):\n    yield data\n"
    running = server(script, env={"AZMLINFSRV_MAX_BATCH_SIZE": "8"}, wait=False)
    assert running.process.wait(20) == 3
    lines = [line for line in running.output.splitlines() if "run() cannot be called with batches" in line]
    assert len(lines) == 1 and "it is a generator" in lines[0]


def test_the_environment_turns_batches_on(server: StartServer) -> None:
    """Settings are enough for a script that cannot change, and the log says what they do."""
    running = server(SCHEMA, env={"AZMLINFSRV_MAX_BATCH_SIZE": "8", "AZMLINFSRV_MAX_BATCH_WAIT_MS": "0.5"})
    assert running.client.post("/score", json={"data": [[1, 2], [3, 4]]}).json() == [3.0, 7.0]
    assert "run() is called with batches: the rows of several requests, up to 8." in running.output
