"""Model data that a served script leaves in Blob Storage: a real store's stand-in, Azurite."""

from __future__ import annotations

import base64
import io
import os
import re
import subprocess
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import orjson
import pyarrow.parquet as pq
import pytest
from azure.core.exceptions import AzureError
from azure.storage.blob import AccountSasPermissions, ContainerClient, ResourceTypes, generate_account_sas

from tests.conftest import RequireProgram, StartServer
from tests.ports import ReservedPort
from tests.process.asking import client
from tests.servers import START_S, RunningServer

pytestmark = pytest.mark.process

ECHO = """
    def init():
        pass


    def run(data):
        return len(data)
"""


# A stop that uploads takes no longer for having the time.
PATIENT = {"AZMLINFSRV_GRACEFUL_TIMEOUT": "12"}


class Azurite:
    """The store, which can be started and stopped; its data stay.

    Args:
        program: path of azurite-blob.
        folder: an empty folder.
        port: the port to listen on.
    """

    def __init__(self, program: str, folder: Path, port: int) -> None:
        self._program = program
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        self.port = port
        self.key = base64.b64encode(os.urandom(32)).decode()
        self.connection = (
            f"DefaultEndpointsProtocol=http;AccountName=tests;AccountKey={self.key};"
            f"BlobEndpoint=http://127.0.0.1:{self.port}/tests;"
        )

    @property
    def signed_url(self) -> str:
        """The account's URL with a shared access signature."""
        until = datetime.now(timezone.utc) + timedelta(hours=1)
        signature = generate_account_sas(
            "tests",
            self.key,
            ResourceTypes(container=True, object=True),
            AccountSasPermissions(read=True, write=True, create=True, list=True),
            until,
        )
        return f"http://127.0.0.1:{self.port}/tests?{signature}"

    def start(self) -> None:
        """Start it, and wait until it answers."""
        options = ["--disableTelemetry", "--silent", "--skipApiVersionCheck"]  # it lags behind the client
        place = ["--location", str(self._folder), "--blobPort", str(self.port)]
        with (self._folder / "output").open("ab") as output:
            self._process = subprocess.Popen(
                [self._program, *place, *options],
                env={"PATH": os.environ["PATH"], "AZURITE_ACCOUNTS": f"tests:{self.key}"},
                stdout=output,
                stderr=output,
            )
        for _ in range(int(START_S / 0.05)):
            try:
                with ContainerClient.from_connection_string(self.connection, "none", retry_total=0) as store:
                    store.exists()
                return
            except AzureError:
                with_code = self._wait(0.05)
                assert with_code is None, (self._folder / "output").read_text()
        raise AssertionError((self._folder / "output").read_text())

    def _wait(self, seconds: float) -> int | None:
        assert self._process is not None
        try:
            return self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return None

    def stop(self) -> None:
        """End it."""
        if self._process is not None:
            self._process.terminate()
            assert self._wait(START_S) is not None, "azurite does not end"
            self._process = None

    def blobs(self, container: str = "data") -> dict[str, bytes]:
        """Return what is in a container, which may be missing."""
        with ContainerClient.from_connection_string(self.connection, container, retry_total=0) as store:
            if not store.exists():
                return {}
            return {blob.name: store.download_blob(blob.name).readall() for blob in store.list_blobs()}


@pytest.fixture
def azurite(require_program: RequireProgram, tmp_path: Path) -> Iterator[Azurite]:
    """The store, not started; stopped after the test."""
    require_program("node")
    folder = tmp_path / "azurite"
    folder.mkdir()
    program = require_program("azurite-blob")
    with ReservedPort() as port:
        store = Azurite(program, folder, port.number)
        yield store
        store.stop()


def environment(store: Azurite, folder: Path, **more: str) -> dict[str, str]:
    """Return variables that collect to the store, by way of a folder."""
    return {
        "AML_MODEL_DC_STORAGE_ENABLED": "true",
        "AZMLINFSRV_MODEL_DATA_FOLDER": str(folder),
        "AZMLINFSRV_MODEL_DATA_BLOB_CONTAINER": "data",
        "AZMLINFSRV_MODEL_DATA_BLOB_CONNECTION": store.connection,
        "AZMLINFSRV_MODEL_DATA_FILE_SECONDS": "1",
        "AZMLINFSRV_GRACEFUL_TIMEOUT": "4",
        **more,
    }


def ask(server: RunningServer, count: int, name: str = "id") -> list[str]:
    """Send so many requests; returns their ids."""
    ids = [f"{name}-{number}" for number in range(count)]
    for number, request_id in enumerate(ids):
        response = client().post(f"{server.url}/score", content="x" * number, headers={"x-request-id": request_id})
        assert response.json() == number
    return ids


def ids_in(blobs: dict[str, bytes]) -> list[str]:
    """Return the request ids of all rows, in order."""
    rows: list[dict[str, Any]] = [orjson.loads(line) for blob in blobs.values() for line in blob.splitlines()]
    return sorted(row["request_id"] for row in rows)


def test_every_request_is_uploaded_once(server: StartServer, azurite: Azurite, tmp_path: Path) -> None:
    """With two workers, after SIGTERM each request is in the container once, under its date; no file is left."""
    azurite.start()
    folder = tmp_path / "waiting"
    more = {"WORKER_COUNT": "2", "AZMLINFSRV_MODEL_DATA_BLOB_PREFIX": "wine/prod", **PATIENT}
    running = server(ECHO, env=environment(azurite, folder, **more))
    ids = ask(running, 60)
    running.wait_until(lambda: len(ids_in(azurite.blobs())) == 60)
    ids += ask(running, 20, "late")
    assert running.stop() == 0
    blobs = azurite.blobs()
    assert ids_in(blobs) == sorted(ids)
    assert all(re.match(r"wine/prod/\d{4}/\d\d/\d\d/\d\d/\d{8}T\d{6}Z-[^/]+\.jsonl\Z", name) for name in blobs)
    assert list(folder.iterdir()) == []
    assert azurite.key not in running.output


def test_parquet_is_uploaded(server: StartServer, azurite: Azurite, tmp_path: Path) -> None:
    """Parquet files arrive as they are, with a signed URL too; without a folder they wait in a temporary one."""
    azurite.start()
    more = {"AZMLINFSRV_MODEL_DATA_FORMAT": "parquet", "TMPDIR": str(tmp_path / "temporary"), **PATIENT}
    env = environment(azurite, tmp_path, **more, AZMLINFSRV_MODEL_DATA_BLOB_CONNECTION=azurite.signed_url)
    (tmp_path / "temporary").mkdir()
    del env["AZMLINFSRV_MODEL_DATA_FOLDER"]
    running = server(ECHO, env=env)
    ids = ask(running, 10)
    running.stop()
    tables = [pq.read_table(io.BytesIO(blob)) for blob in azurite.blobs().values()]
    assert "sig=" not in running.output
    assert sorted(each for table in tables for each in table["request_id"].to_pylist()) == sorted(ids)
    (waiting,) = (tmp_path / "temporary").glob("azmlinfsrv-model-data-*")
    assert list(waiting.iterdir()) == []


@pytest.mark.timeout(120)
def test_a_store_that_comes_back_gets_everything(server: StartServer, azurite: Azurite, tmp_path: Path) -> None:
    """While the store cannot be reached requests are answered and files wait; they go when it is back."""
    running = server(ECHO, env=environment(azurite, tmp_path / "waiting"))
    ids = ask(running, 10)
    running.wait_until(lambda: "Model data cannot be uploaded, it is tried again" in running.output)
    ids += ask(running, 10, "later")
    azurite.start()
    # Each try that failed has doubled the wait for the next.
    running.wait_until(lambda: ids_in(azurite.blobs()) == sorted(ids), 3 * START_S)
    assert running.stop() == 0
    assert ids_in(azurite.blobs()) == sorted(ids)
    assert azurite.key not in running.output


def test_the_next_server_uploads_what_is_left(server: StartServer, azurite: Azurite, tmp_path: Path) -> None:
    """What a stop could not upload in its time stays in the folder, and the next start uploads it."""
    folder = tmp_path / "waiting"
    running = server(ECHO, env=environment(azurite, folder, AZMLINFSRV_GRACEFUL_TIMEOUT="2"))
    ids = ask(running, 10)
    assert running.stop() == 0
    assert "10 records of model data could not be uploaded, and stay in their folder" in running.output
    assert ids_in({path.name: path.read_bytes() for path in folder.iterdir()}) == sorted(ids)
    azurite.start()
    other = server(ECHO, env=environment(azurite, folder))
    other.wait_until(lambda: ids_in(azurite.blobs()) == sorted(ids))
    other.stop()
    assert list(folder.iterdir()) == []
    assert azurite.key not in running.output + other.output
