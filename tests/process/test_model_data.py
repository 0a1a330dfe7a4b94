"""Model data that a served script leaves in a folder."""

from __future__ import annotations

import json
import signal
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import orjson
import psutil
import pyarrow.parquet as pq
import pytest

from tests.conftest import StartServer
from tests.process.asking import PATIENCE_S, client
from tests.servers import RunningServer

pytestmark = pytest.mark.process

ECHO = """
    import json
    import time


    def init():
        pass


    def run(data):
        asked = json.loads(data)
        if "fail" in asked:
            raise ValueError("cannot do " + asked["fail"])
        if "items" in asked:
            return (str(number) for number in range(asked["items"]))
        return {"got": asked["number"]}
"""


def environment(folder: Path, **more: str) -> dict[str, str]:
    """Return variables that collect to a folder."""
    return {"AML_MODEL_DC_STORAGE_ENABLED": "true", "AZMLINFSRV_MODEL_DATA_FOLDER": str(folder), **more}


def rows_of(folder: Path) -> list[dict[str, Any]]:
    """Return the rows of a folder, which has finished files only."""
    assert all(path.suffix == ".jsonl" for path in folder.iterdir()), list(folder.iterdir())
    return [orjson.loads(line) for path in folder.iterdir() for line in path.read_bytes().splitlines()]


def score(server: RunningServer, content: object, **headers: str) -> httpx.Response:
    """Return the answer to a JSON body."""
    headers = {name.replace("_", "-"): value for name, value in headers.items()}
    return client().post(f"{server.url}/score", content=json.dumps(content), headers=headers)


def ask_many(server: RunningServer, count: int, threads: int = 8) -> dict[str, int]:
    """Send so many requests over several connections; returns the number that each request id asked for."""

    def ask(thread: int) -> dict[str, int]:
        asked = {}
        with httpx.Client(base_url=server.url, timeout=PATIENCE_S, trust_env=False) as connection:
            for number in range(thread, count, threads):
                response = connection.post("/score", json={"number": number})
                assert response.json() == {"got": number}
                asked[response.headers["x-request-id"]] = number
        return asked

    with ThreadPoolExecutor(threads) as pool:
        return {key: value for part in pool.map(ask, range(threads)) for key, value in part.items()}


@pytest.mark.parametrize("preload", ["false", "true"])
def test_every_request_is_there_once(server: StartServer, tmp_path: Path, preload: str) -> None:
    """With several workers, after SIGTERM each request has one row: its id, its input and its output go together."""
    folder = tmp_path / "data"
    more = {"WORKER_COUNT": "3", "WORKER_PRELOAD": preload, "AZMLINFSRV_MODEL_DATA_FILE_BYTES": "20000"}
    running = server(ECHO, env=environment(folder, **more))
    asked = ask_many(running, 600)
    assert running.stop() == 0
    rows = rows_of(folder)
    assert len(asked) == len(rows) == 600
    for row in rows:
        number = asked.pop(row["request_id"])
        assert json.loads(row["input"]) == {"number": number}
        assert json.loads(row["output"]) == {"got": number}
        assert row["success"] and row["status"] == 200 and row["run_ms"] >= 0
    writers = [path.name.split("-")[-3] for path in folder.iterdir()]
    assert len(writers) > len(set(writers)), "the files were not rotated"
    assert "Traceback" not in running.output


def test_what_is_running_at_the_stop_is_collected(server: StartServer, tmp_path: Path, scripts: Path) -> None:
    """A request that ends after SIGTERM is in the files."""
    folder = tmp_path / "data"
    running = server(scripts / "steps.py", env=environment(folder))
    started, go = tmp_path / "started", tmp_path / "go"
    with ThreadPoolExecutor(1) as pool:
        content = {"do": "wait", "started": str(started), "go": str(go)}
        held = pool.submit(score, running, content, x_request_id="held")
        running.wait_until(started.exists)
        running.process.send_signal(signal.SIGTERM)
        running.wait_until(lambda: "Handling signal: term" in running.output)
        go.touch()
        assert held.result(PATIENCE_S).status_code == 200
    assert running.wait_exit() == 0
    assert [row["request_id"] for row in rows_of(folder)] == ["held"]


def test_failed_calls_and_streams(server: StartServer, tmp_path: Path) -> None:
    """What the script raised is the row's error; bad input, a stream and both ids are told."""
    folder = tmp_path / "data"
    running = server(ECHO, env=environment(folder, SERVICE_NAME="wine", WORKSPACE_NAME="cellar"))
    score(running, {"fail": "this"}, x_request_id="failed", x_ms_client_request_id="mine")
    score(running, {"items": 3}, x_request_id="stream")
    client().post(f"{running.url}/score", content=b"\xff\xfe", headers={"x-request-id": "bad"})
    client().get(f"{running.url}/score?number=1", headers={"x-request-id": "query"})
    assert client().get(f"{running.url}/swagger.json").status_code == 200
    running.stop()
    rows = {row["request_id"]: row for row in rows_of(folder)}
    assert set(rows) == {"failed", "stream", "bad", "query"}
    assert (rows["failed"]["error"], rows["failed"]["status"]) == ("ValueError: cannot do this", 500)
    assert rows["failed"]["client_request_id"] == "mine"
    assert (rows["stream"]["streamed"], rows["stream"]["output_type"]) == (True, "text/plain; charset=utf-8")
    assert (rows["bad"]["status"], rows["bad"]["input"], rows["bad"]["input_encoding"]) == (400, "//4=", "base64")
    assert "cannot be decoded" in rows["bad"]["error"] and "run_ms" not in rows["bad"]
    assert (rows["query"]["query"], rows["query"]["method"], rows["query"]["success"]) == ("number=1", "GET", True)
    assert {(row["service"], row["workspace"]) for row in rows.values()} == {("wine", "cellar")}


def test_parquet(server: StartServer, tmp_path: Path) -> None:
    """As Parquet, pyarrow reads one table with a row for each request."""
    folder = tmp_path / "data"
    more = {"AZMLINFSRV_MODEL_DATA_FORMAT": "parquet", "WORKER_COUNT": "2"}
    running = server(ECHO, env=environment(folder, **more))
    asked = ask_many(running, 100)
    running.stop()
    assert all(path.suffix == ".parquet" for path in folder.iterdir())
    table = pq.read_table(folder)
    assert sorted(table["request_id"].to_pylist()) == sorted(asked)
    assert set(table["status"].to_pylist()) == {200}


def test_a_killed_worker_loses_nothing(server: StartServer, tmp_path: Path) -> None:
    """What a killed worker has answered is in the files: the one that replaces it writes and finishes what it left."""
    folder = tmp_path / "data"
    running = server(ECHO, env=environment(folder))
    ids = [f"id-{number}" for number in range(20)]
    for number, request_id in enumerate(ids):
        score(running, {"number": number}, x_request_id=request_id)
    (worker,) = psutil.Process(running.process.pid).children()
    worker.kill()
    running.wait_until(lambda: "Recovered" in running.output)
    running.wait_ready()
    assert running.stop() == 0
    assert sorted(row["request_id"] for row in rows_of(folder)) == sorted(ids)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_does_not_end_serving(server: StartServer, tmp_path: Path) -> None:
    """When writing fails, requests are answered as before, the log says so, and a stop ends in its time."""
    folder = tmp_path / "data"
    preload = tmp_path / "sitecustomize.py"
    # In the place of a disk that is full: the files are there, and nothing goes into them.
    preload.write_text(
        "import os\nreal = os.open\nos.open = lambda path, *rest, **more: real(\n"
        "    '/dev/full' if str(path).endswith('.partial') else path, *(\n"
        "        (os.O_WRONLY,) if str(path).endswith('.partial') else rest), **more)\n"
    )
    # Of the time of a stop, a fifth is for saying what is lost.
    more = {"PYTHONPATH": str(tmp_path), "AZMLINFSRV_GRACEFUL_TIMEOUT": "8"}
    running = server(ECHO, env=environment(folder, **more))
    ask_many(running, 50)
    running.wait_until(lambda: "Model data cannot be written, it is tried again: No space left" in running.output)
    ask_many(running, 50)
    assert running.stop() == 0
    assert "100 records of model data are lost: they could not be written" in running.output


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({}, "model data cannot be written to the folder '{file}'"),
        ({"AZMLINFSRV_MODEL_DATA_SAMPLE_RATE": "2"}, "expected a number from 0 to 1"),
        ({"AZMLINFSRV_MODEL_DATA_BLOB_CONTAINER": "c"}, "needs AZMLINFSRV_MODEL_DATA_BLOB_CONNECTION"),
        (
            {
                "AZMLINFSRV_MODEL_DATA_BLOB_CONTAINER": "c",
                "AZMLINFSRV_MODEL_DATA_BLOB_CONNECTION": "AccountKey=SECRET",
            },
            "AZMLINFSRV_MODEL_DATA_BLOB_CONNECTION is neither a connection string nor an account URL",
        ),
    ],
    ids=["folder", "rate", "no-connection", "bad-connection"],
)
def test_what_cannot_work_stops_the_start(
    server: StartServer, tmp_path: Path, more: Mapping[str, str], message: str
) -> None:
    """A folder or connection that cannot be used stops the start with code 3 and a line that has no secret."""
    file = tmp_path / "file"
    file.touch()
    running = server(ECHO, env=environment(file, **more), wait=False)
    assert running.wait_exit() == 3
    assert message.format(file=file) in running.output
    assert "SECRET" not in running.output
