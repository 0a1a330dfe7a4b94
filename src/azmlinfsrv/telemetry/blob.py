"""Finished files of model data to Azure Blob Storage; needs azure-storage-blob (extra ``blob``)."""

from __future__ import annotations

import contextlib
import importlib
import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

from azmlinfsrv.errors import ConfigurationError

if TYPE_CHECKING:
    from azure.storage.blob import ContainerClient

logger = logging.getLogger("azmlinfsrv")

_FIRST_PAUSE_S = 1.0
_LONGEST_PAUSE_S = 60.0
_STOP_PAUSE_S = 0.2
_CONNECT_S = 10
_READ_S = 30


class Upload(Protocol):
    """Puts a file into the container."""

    def __call__(self, path: str, name: str) -> None:
        """Upload a file.

        Args:
            path: path of the file.
            name: name of the blob; one that is there is replaced.

        Raises:
            FileNotFoundError: the file is gone.
            UploadError: it could not be uploaded.
        """


class UploadError(Exception):
    """A file could not be uploaded; the text says why, without keys and addresses."""


def container_client(connection: str, container: str) -> ContainerClient:
    """Return the client of a container; connects to nothing yet.

    Args:
        connection: a connection string, or the URL of the account, with a SAS or for the environment's identity.
        container: name of the container.

    Raises:
        ConfigurationError: the connection cannot be used; the text has nothing of it.
        ModuleNotFoundError: azure-storage-blob is not installed.
    """
    from azure.storage.blob import ContainerClient

    options: Any = {"retry_total": 0, "connection_timeout": _CONNECT_S, "read_timeout": _READ_S}
    try:
        if "://" not in connection.partition(";")[0].partition("=")[0]:
            return ContainerClient.from_connection_string(connection, container, **options)
        credential = None if "?" in connection else _identity()
        return ContainerClient(connection, container, credential, **options)
    except (ValueError, KeyError):
        pass
    # Not chained: the cause may quote the connection.
    raise ConfigurationError("AZMLINFSRV_MODEL_DATA_BLOB_CONNECTION is neither a connection string nor an account URL")


def _identity() -> Any:
    try:
        identity = importlib.import_module("azure.identity")
    except ModuleNotFoundError as error:
        message = (
            "AZMLINFSRV_MODEL_DATA_BLOB_CONNECTION has no key and no SAS, and azure-identity is not installed. "
            "Run: pip install azure-identity"
        )
        raise ConfigurationError(message) from error
    return identity.DefaultAzureCredential()


class BlobUpload:
    """Uploads to a container, and makes it where it is missing.

    Args:
        client: the client of the container.
    """

    def __init__(self, client: ContainerClient) -> None:
        self._client = client

    def __call__(self, path: str, name: str) -> None:
        """See `Upload`."""
        from azure.core.exceptions import AzureError, ResourceNotFoundError

        try:
            try:
                self._put(path, name)
            except ResourceNotFoundError:
                self._make_container()
                self._put(path, name)
        except AzureError as error:
            code = getattr(error, "error_code", None) or getattr(error, "status_code", None)
            raise UploadError(f"{type(error).__name__} {code or ''}".rstrip()) from None

    def _put(self, path: str, name: str) -> None:
        with open(path, "rb") as file:
            self._client.upload_blob(name, file, overwrite=True)

    def _make_container(self) -> None:
        from azure.core.exceptions import ResourceExistsError

        with contextlib.suppress(ResourceExistsError):  # another worker was quicker
            self._client.create_container()


class BlobShipper:
    """Uploads finished files in a thread of its own and removes them; one that fails is tried again, ever later.

    Files that wait are on the disk, where `RecordFiles` removes the oldest beyond its limit, so that a store that
    cannot be reached costs no memory and does not hold up the writing.

    Args:
        upload: puts a file into the container.
        prefix: what the names of blobs begin with; the date and hour of the file follow.
        lost: gets the number of records of each file that was removed before it could be uploaded.
        now: seconds, monotonic.
    """

    def __init__(
        self, upload: Upload, prefix: str, lost: Callable[[int], None], now: Callable[[], float] = time.monotonic
    ) -> None:
        self._upload = upload
        self._prefix = prefix.strip("/")
        self._lost = lost
        self._now = now
        self._files: deque[tuple[str, int]] = deque()
        self._changed = threading.Event()
        self._stopping = threading.Event()
        self._stop_by = 0.0
        self._pause_s = 0.0
        self._thread = threading.Thread(target=self._run, name="model-data-blob", daemon=True)

    @property
    def waiting(self) -> int:
        """Number of records in files that are not uploaded."""
        return sum(records for _, records in tuple(self._files))

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def add(self, path: str, records: int) -> None:
        """Upload a finished file as soon as possible; called on any thread."""
        self._files.append((path, records))
        self._changed.set()

    def stop(self, timeout_s: float) -> int:
        """Upload what waits within that time and end; returns how many records are left, in files."""
        self._stop_by = self._now() + timeout_s
        self._stopping.set()
        self._changed.set()
        self._thread.join(timeout_s)
        return self.waiting

    def _run(self) -> None:
        while True:
            self._changed.clear()
            while self._files and self._ship(*self._files[0]):
                self._files.popleft()
            if self._is_over():
                return
            if self._files:
                self._rest()
            else:
                self._changed.wait()

    def _is_over(self) -> bool:
        if not self._stopping.is_set():
            return False
        return not self._files or self._now() >= self._stop_by

    def _rest(self) -> None:
        """Wait before the next try, ever longer; at a stop, a short while only."""
        self._pause_s = min(self._pause_s * 2 or _FIRST_PAUSE_S, _LONGEST_PAUSE_S)
        if self._stopping.wait(self._pause_s):
            time.sleep(_STOP_PAUSE_S)

    def _ship(self, path: str, records: int) -> bool:
        """Upload one file; returns whether it is done with."""
        try:
            self._upload(path, self.blob_name(path))
            os.unlink(path)
        except FileNotFoundError:
            return True  # removed for its age, which has been counted, or shipped by another worker
        except UploadError as error:
            if not self._pause_s:
                logger.warning("Model data cannot be uploaded, it is tried again: %s", error)
            return False
        except Exception as error:  # noqa: BLE001 - the border of telemetry
            logger.warning("Model data of %d records is given up: %s", records, type(error).__name__)
            self._lost(records)
            return True
        if self._pause_s:
            logger.info("Model data is uploaded again")
        self._pause_s = 0.0
        return True

    def blob_name(self, path: str) -> str:
        """Return the name of the blob of a file: prefix, year, month, day and hour (UTC), and the file's name."""
        file = os.path.basename(path)
        date = f"{file[:4]}/{file[4:6]}/{file[6:8]}/{file[9:11]}"
        return "/".join(part for part in (self._prefix, date, file) if part)
