"""Uploads to Blob Storage, with a fake in the place of the store."""

from __future__ import annotations

import logging
import sys
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from azure.core.exceptions import ClientAuthenticationError, ResourceExistsError, ResourceNotFoundError

from azmlinfsrv.errors import ConfigurationError
from azmlinfsrv.telemetry import blob
from azmlinfsrv.telemetry.blob import BlobShipper, BlobUpload, UploadError, container_client

WAIT_S = 10
KEY = "c2VjcmV0LXNlY3JldC1zZWNyZXQ="
NAME = "20231114T221320Z-host-1-0123abcd-3.jsonl"


class FakeStore:
    """Takes files, or fails as the test says."""

    def __init__(self) -> None:
        self.blobs: dict[str, bytes] = {}
        self.failures: list[Exception] = []
        self.asked = threading.Semaphore(0)

    def __call__(self, path: str, name: str) -> None:
        """See `Upload`."""
        self.asked.release()
        if self.failures:
            raise self.failures.pop(0)
        self.blobs[name] = Path(path).read_bytes()


@pytest.fixture
def store() -> FakeStore:
    """The store."""
    return FakeStore()


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pauses that a test can wait for."""
    monkeypatch.setattr(blob, "_FIRST_PAUSE_S", 0.01)
    monkeypatch.setattr(blob, "_STOP_PAUSE_S", 0.01)


def a_file(folder: Path, name: str = NAME) -> str:
    """Return the path of a finished file."""
    (folder / name).write_bytes(b"{}\n")
    return str(folder / name)


def test_files_are_moved(store: FakeStore, tmp_path: Path) -> None:
    """A file is uploaded under prefix, date and hour, and removed; a stop waits for those that are left."""
    shipper = BlobShipper(store, "/model/data/", lambda records: None)
    shipper.start()
    shipper.add(a_file(tmp_path), 3)
    assert store.asked.acquire(timeout=WAIT_S)
    shipper.add(a_file(tmp_path, "20231201T000000Z-host-1-0123abcd-1.parquet"), 1)
    assert shipper.stop(WAIT_S) == 0
    assert store.blobs == {
        f"model/data/2023/11/14/22/{NAME}": b"{}\n",
        "model/data/2023/12/01/00/20231201T000000Z-host-1-0123abcd-1.parquet": b"{}\n",
    }
    assert list(tmp_path.iterdir()) == []


def test_a_prefix_may_be_empty(store: FakeStore) -> None:
    """Without a prefix the names begin with the year."""
    assert BlobShipper(store, "", lambda records: None).blob_name(f"/x/{NAME}") == f"2023/11/14/22/{NAME}"


def test_a_failed_upload_is_repeated(store: FakeStore, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """An upload that fails is tried again until it succeeds; two log lines say so, not one for each try."""
    caplog.set_level(logging.INFO)
    store.failures = [UploadError("ServiceRequestError")] * 3
    shipper = BlobShipper(store, "p", lambda records: None)
    shipper.start()
    shipper.add(a_file(tmp_path), 3)
    for _ in range(4):
        assert store.asked.acquire(timeout=WAIT_S)
    assert shipper.stop(WAIT_S) == 0
    assert len(store.blobs) == 1
    assert caplog.messages == [
        "Model data cannot be uploaded, it is tried again: ServiceRequestError",
        "Model data is uploaded again",
    ]


def test_a_stop_leaves_what_cannot_be_uploaded(store: FakeStore, tmp_path: Path) -> None:
    """With a store that cannot be reached a stop ends in its time, and the file stays for the next start."""
    store.failures = [UploadError("ServiceRequestError")] * 100_000
    shipper = BlobShipper(store, "p", lambda records: None)
    shipper.start()
    shipper.add(a_file(tmp_path), 3)
    assert shipper.stop(0.1) == 3
    shipper._thread.join(WAIT_S)
    assert not shipper._thread.is_alive()
    assert (tmp_path / NAME).exists()


def test_files_that_are_gone_hold_nothing_up(store: FakeStore, tmp_path: Path) -> None:
    """A file that another worker has uploaded, or that was removed for its age, is passed over."""
    shipper = BlobShipper(store, "p", lambda records: None)
    shipper.add(str(tmp_path / "gone"), 1)
    shipper.add(a_file(tmp_path), 3)
    shipper.start()
    assert shipper.stop(WAIT_S) == 0
    assert len(store.blobs) == 1


def test_a_defect_is_counted(store: FakeStore, tmp_path: Path) -> None:
    """A file that can never be uploaded is given up and its records are counted, and the next ones go."""
    lost: list[int] = []
    store.failures = [ZeroDivisionError()]
    shipper = BlobShipper(store, "p", lost.append)
    shipper.add(a_file(tmp_path), 3)
    shipper.add(a_file(tmp_path, NAME.replace("22", "23")), 4)
    shipper.start()
    assert shipper.stop(WAIT_S) == 0
    assert lost == [3] and len(store.blobs) == 1


class FakeContainer:
    """Stands in for the client of a container."""

    def __init__(self, *failures: Exception) -> None:
        self.failures = list(failures)
        self.calls: list[str] = []

    def upload_blob(self, name: str, file: Any, overwrite: bool) -> None:
        """Fail once for each failure."""
        assert overwrite
        self.calls.append(f"upload {name}")
        if self.failures:
            raise self.failures.pop(0)

    def create_container(self) -> None:
        """Say that somebody was quicker."""
        self.calls.append("create")
        raise ResourceExistsError


def test_a_missing_container_is_made(tmp_path: Path) -> None:
    """The first upload to a container that is not there makes it, also where another worker was quicker."""
    client: Any = FakeContainer(ResourceNotFoundError())
    BlobUpload(client)(a_file(tmp_path), "name")
    assert client.calls == ["upload name", "create", "upload name"]


def test_errors_of_the_store_have_no_secrets(tmp_path: Path) -> None:
    """The text of a failed upload is the kind of the error, and nothing of what it quotes."""
    error = ClientAuthenticationError(f"the MAC signature in 'sig={KEY}' is wrong")
    client: Any = FakeContainer(error)
    with pytest.raises(UploadError) as raised:
        BlobUpload(client)(a_file(tmp_path), "name")
    assert str(raised.value) == "ClientAuthenticationError"
    assert raised.value.__suppress_context__


@pytest.mark.parametrize(
    ("connection", "url"),
    [
        (
            f"DefaultEndpointsProtocol=http;AccountName=a;AccountKey={KEY};BlobEndpoint=http://127.0.0.1:1/a;",
            "http://127.0.0.1:1/a/box",
        ),
        (f"AccountName=a;AccountKey={KEY};EndpointSuffix=example.org", "https://a.blob.example.org/box"),
        (f"BlobEndpoint=https://a.example.org;SharedAccessSignature=sv=1&sig={KEY}", "https://a.example.org/box"),
        (f"https://a.example.org?sv=1&sig={KEY}", "https://a.example.org/box"),
    ],
)
def test_connections(connection: str, url: str) -> None:
    """A connection string and the URL of an account with a SAS both do."""
    assert container_client(connection, "box").url.partition("?")[0] == url


@pytest.mark.parametrize("connection", [KEY, f"AccountKey={KEY}", f"what;AccountKey={KEY}", " "])
def test_bad_connections_are_not_repeated(connection: str) -> None:
    """What is no connection is an error that names the setting and has nothing of the value."""
    with pytest.raises(ConfigurationError) as raised:
        container_client(connection, "box")
    assert "AZMLINFSRV_MODEL_DATA_BLOB_CONNECTION" in raised.value.message
    assert KEY not in raised.value.message
    assert raised.value.__cause__ is None and raised.value.__context__ is None


def test_the_managed_identity(monkeypatch: pytest.MonkeyPatch) -> None:
    """The URL of an account without a SAS takes the environment's identity."""
    credential = SimpleNamespace(get_token=lambda *scopes, **options: None)
    identity = SimpleNamespace(DefaultAzureCredential=lambda: credential)
    monkeypatch.setitem(sys.modules, "azure.identity", identity)
    assert container_client("https://a.example.org", "box").credential is credential


def test_the_managed_identity_needs_a_package(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without azure-identity such a URL stops the start with the line that installs it."""
    monkeypatch.setitem(sys.modules, "azure.identity", None)
    with pytest.raises(ConfigurationError, match="Run: pip install azure-identity"):
        container_client("https://a.example.org", "box")
