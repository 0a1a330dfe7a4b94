"""Model data collection: the input and output of each call, and what scripts collect, to a folder or Blob Storage."""

from __future__ import annotations

import functools
import hashlib
import logging
import os
import socket
import stat
import tempfile
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from azmlinfsrv.capture import current_request
from azmlinfsrv.errors import ConfigurationError
from azmlinfsrv.identity import NO_REQUEST
from azmlinfsrv.messages import Request, Response
from azmlinfsrv.settings import Settings
from azmlinfsrv.telemetry import model_record
from azmlinfsrv.telemetry.model_record import RECORD_BYTES, CollectedRecord, Origin, RunRecord, is_sampled, run_record
from azmlinfsrv.telemetry.record_files import Convert, RecordFiles, Rotation, check_folder
from azmlinfsrv.telemetry.record_journal import Journal, JournalledFiles
from azmlinfsrv.telemetry.record_pipeline import Files, RecordPipeline
from azmlinfsrv.telemetry.record_queue import RecordQueue

if TYPE_CHECKING:
    from azmlinfsrv.telemetry.blob import BlobShipper

logger = logging.getLogger("azmlinfsrv")

_MAX_RECORDS = 20_000
_WARN_EVERY_S = 60.0
# Share of the time of a stop that the writing may take; the rest is for the upload.
_WRITING_SHARE = 0.5


class ModelData:
    """Collects model data: records are handed over in no time, and written by a thread of its own.

    Made when the script is loaded; `start` is called in each worker.

    Args:
        settings: the settings.
        origin: what all rows have in common.
        queue: where records wait.
        files: where lines go.
        journal: holds what waits for `files`.
        shipper: uploads finished files, or None.
    """

    def __init__(
        self,
        settings: Settings,
        origin: Origin,
        queue: RecordQueue,
        files: Files,
        journal: Journal,
        shipper: BlobShipper | None = None,
    ) -> None:
        self._rate = settings.model_data_sample_rate
        self._max_body_bytes = settings.model_data_body_bytes
        self._queue = queue
        self._line = functools.partial(model_record.line, origin=origin)
        self._pipeline = RecordPipeline(queue, bytes, files)
        self._journal = journal
        self._keeping = threading.Lock()
        self._shipper = shipper
        self._warn_at = 0.0

    @property
    def dropped(self) -> int:
        """Number of records that were lost: they did not fit, or could not be written or uploaded in time."""
        return self._queue.dropped

    @property
    def written(self) -> int:
        """Number of records that were written to files."""
        return self._pipeline.written

    @property
    def waiting(self) -> int:
        """Number of records in memory."""
        return self._queue.held_records

    def record(self, request: Request, response: Response) -> None:
        """Collect a call, finished or failed; called on the I/O thread, returns at once and never raises."""
        try:
            if self._rate < 1 and not is_sampled(request.ids.request_id, self._rate):
                return
            if request.method == "OPTIONS" and response.exec_ms is None:
                return  # answered without the script
            record = run_record(request, response, self._max_body_bytes)
            self._keep(record)
        except Exception:  # the border of telemetry
            self._queue.count_dropped(1)
            logger.exception("A record of model data is lost")

    def collect(self, collection: str, correlation_id: str, data: str, data_type: str) -> bool:
        """Take what a script collected; called on any thread, returns at once, with False where it was dropped."""
        request_id = current_request()
        if request_id != NO_REQUEST and self._rate < 1 and not is_sampled(request_id, self._rate):
            return True
        record = CollectedRecord(time.time(), request_id, collection, correlation_id, data, data_type)
        return self._keep(record)

    def start(self) -> None:
        """Start the threads; called in the process that serves."""
        if self._shipper is not None:
            self._shipper.start()
        self._journal.open()
        self._pipeline.start()

    def flush(self) -> None:
        """Write what has been collected so far; called before a fork, after which each process has its own."""
        self._pipeline.flush()

    def stop(self, timeout_s: float) -> None:
        """Write and upload what was collected, within that time."""
        until = time.monotonic() + timeout_s
        self._pipeline.stop(timeout_s * _WRITING_SHARE if self._shipper else timeout_s)
        if self._queue.held_records:
            logger.warning("%d records of model data may be lost: writing takes too long", self._queue.held_records)
        self._journal.close()
        if self._shipper is not None:
            left = self._shipper.stop(max(0.0, until - time.monotonic()))
            if left:
                logger.warning("%d records of model data could not be uploaded, and stay in their folder", left)

    def _keep(self, record: RunRecord | CollectedRecord) -> bool:
        """Put the line of a record where the end of the process does not lose it; returns False where it is dropped."""
        line = self._line(record)
        with self._keeping:  # the journal has lines in the order of the queue
            self._journal.put(line)
            if self._queue.put(line, RECORD_BYTES + len(line)):
                return True
            self._journal.take_back(len(line))
        self._warn()
        return False

    def _warn(self) -> None:
        """Say that records are dropped, once a minute at the most."""
        now = time.monotonic()
        if now >= self._warn_at:
            self._warn_at = now + _WARN_EVERY_S
            logger.warning("Model data is dropped: %d records so far", self.dropped)


def make_model_data(settings: Settings, models: list[str]) -> ModelData | None:
    """Return the collection that the settings ask for, or None.

    Args:
        settings: the settings.
        models: ``name:version`` of each model.

    Raises:
        ConfigurationError: the folder cannot be written to, an extra is missing, or the connection is not valid.
    """
    if not (settings.model_data_folder or settings.model_data_blob_container):
        return None
    if not settings.model_data_enabled:
        logger.warning("Model data is not collected: AML_MODEL_DC_STORAGE_ENABLED is not true.")
        return None
    host = settings.hostname if settings.hostname != "Unknown" else socket.gethostname()
    origin = Origin(settings.service_name, settings.workspace_name, tuple(models), host)
    queue = RecordQueue(_MAX_RECORDS, settings.model_data_queue_bytes)
    rotation = Rotation(
        settings.model_data_file_bytes, float(settings.model_data_file_s), settings.model_data_keep_bytes
    )
    convert = _parquet() if settings.model_data_format == "parquet" else None
    shipper = None
    if settings.model_data_blob_container:
        files, shipper = _to_blob(settings, settings.model_data_blob_container, rotation, convert, queue.count_dropped)
    else:
        folder = os.path.abspath(settings.model_data_folder or "")
        check_folder(folder)
        logger.info("Model data is collected in %s", folder)
        files = RecordFiles(folder, rotation, convert)
    journal = Journal(files.folder)
    return ModelData(settings, origin, queue, JournalledFiles(files, journal, files.folder), journal, shipper)


def _to_blob(
    settings: Settings, container: str, rotation: Rotation, convert: Convert | None, lost: Callable[[int], None]
) -> tuple[RecordFiles, BlobShipper]:
    if not settings.model_data_blob_connection:
        raise ConfigurationError("AZMLINFSRV_MODEL_DATA_BLOB_CONTAINER needs AZMLINFSRV_MODEL_DATA_BLOB_CONNECTION")
    from azmlinfsrv.telemetry.blob import BlobShipper, BlobUpload, container_client

    try:
        client = container_client(settings.model_data_blob_connection, container)
    except ModuleNotFoundError as error:
        raise ConfigurationError(_missing("Model data in Blob Storage", "blob", error)) from error
    prefix = settings.model_data_blob_prefix
    folder = settings.model_data_folder
    folder = os.path.abspath(folder) if folder else _own_folder(f"{client.url.partition('?')[0]}/{prefix}")
    check_folder(folder)
    shipper = BlobShipper(BlobUpload(client), prefix, lost)
    files = RecordFiles(folder, rotation, convert, shipper.add, lost)
    for path, records in files.left_behind():
        shipper.add(path, records)
    logger.info("Model data is collected in %s and uploaded to the container %s", folder, container)
    return files, shipper


def _parquet() -> Convert:
    from azmlinfsrv.telemetry.parquet import converter

    try:
        return converter()
    except ModuleNotFoundError as error:
        raise ConfigurationError(_missing("Model data as Parquet", "parquet", error)) from error


def _missing(what: str, extra: str, error: ModuleNotFoundError) -> str:
    return f"{what} needs {error.name}, which is not installed. Run: pip install 'azmlinfsrv[{extra}]'"


def _own_folder(place: str) -> str:
    """Return the temporary folder of this user in which files wait for their upload to a place."""
    user = str(os.getuid()) if hasattr(os, "getuid") else "user"
    digest = hashlib.sha256(place.encode()).hexdigest()[:12]
    folder = os.path.join(tempfile.gettempdir(), f"azmlinfsrv-model-data-{user}-{digest}")
    try:
        os.makedirs(folder, 0o700, exist_ok=True)
        status = os.lstat(folder)
    except OSError as error:
        raise ConfigurationError(f"model data cannot be written to the folder {folder!r}: {error.strerror}") from error
    if not stat.S_ISDIR(status.st_mode) or (hasattr(os, "getuid") and status.st_uid != os.getuid()):
        raise ConfigurationError(f"the folder {folder!r} for model data belongs to somebody else")
    return folder
