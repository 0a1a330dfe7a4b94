"""The rows of the table of settings that model data collection has."""

from __future__ import annotations

from dataclasses import dataclass

from azmlinfsrv.setting import row

_TELEMETRY = "Telemetry"


@dataclass(frozen=True)
class ModelDataSettings:
    """What is collected of the calls of ``run()``, and where it goes."""

    model_data_enabled: bool = row(
        False,
        _TELEMETRY,
        "Collect the inputs and outputs of `run()`: to Application Insights where that is enabled, "
        "and to the folder or container below where one is given.",
        "AML_MODEL_DC_STORAGE_ENABLED",
        "AML_MDC_STORAGE_ENABLED",
        in_file=True,
    )
    model_data_folder: str | None = row(
        None,
        _TELEMETRY,
        "Folder for files of collected model data; with a container, the folder where they wait for their upload.",
        "AZMLINFSRV_MODEL_DATA_FOLDER",
        in_file=True,
    )
    model_data_format: str = row(
        "jsonl",
        _TELEMETRY,
        "Format of the files: JSON Lines, or Parquet (extra `parquet`).",
        "AZMLINFSRV_MODEL_DATA_FORMAT",
        choices=("jsonl", "parquet"),
        in_file=True,
    )
    model_data_sample_rate: float = row(
        1.0,
        _TELEMETRY,
        "Share of the requests that are collected; the request id decides.",
        "AZMLINFSRV_MODEL_DATA_SAMPLE_RATE",
        minimum=0,
        maximum=1,
        in_file=True,
    )
    model_data_body_bytes: int = row(
        1024 * 1024,
        _TELEMETRY,
        "Largest body that is collected; of a larger one only its length and type are.",
        "AZMLINFSRV_MODEL_DATA_BODY_BYTES",
        unit="bytes",
        minimum=0,
        in_file=True,
    )
    model_data_queue_bytes: int = row(
        64 * 1024 * 1024,
        _TELEMETRY,
        "Memory for collected data that waits to be written, in each worker; what does not fit is dropped and counted.",
        "AZMLINFSRV_MODEL_DATA_QUEUE_BYTES",
        unit="bytes",
        minimum=1,
        in_file=True,
    )
    model_data_file_bytes: int = row(
        64 * 1024 * 1024,
        _TELEMETRY,
        "Size at which a file is finished and the next one begun.",
        "AZMLINFSRV_MODEL_DATA_FILE_BYTES",
        unit="bytes",
        minimum=1,
        in_file=True,
    )
    model_data_file_s: int = row(
        300,
        _TELEMETRY,
        "Age at which a file is finished.",
        "AZMLINFSRV_MODEL_DATA_FILE_SECONDS",
        unit="seconds",
        minimum=1,
        in_file=True,
    )
    model_data_keep_bytes: int = row(
        1024 * 1024 * 1024,
        _TELEMETRY,
        "Size of all finished files in the folder beyond which the oldest are removed; 0 keeps all.",
        "AZMLINFSRV_MODEL_DATA_KEEP_BYTES",
        unit="bytes",
        minimum=0,
        in_file=True,
    )
    model_data_blob_container: str | None = row(
        None,
        _TELEMETRY,
        "Container of Azure Blob Storage that finished files are moved to (extra `blob`).",
        "AZMLINFSRV_MODEL_DATA_BLOB_CONTAINER",
        in_file=True,
    )
    model_data_blob_prefix: str = row(
        "modeldata",
        _TELEMETRY,
        "What the names of blobs begin with; year, month, day, hour and the file's name follow.",
        "AZMLINFSRV_MODEL_DATA_BLOB_PREFIX",
        in_file=True,
    )
    model_data_blob_connection: str | None = row(
        None,
        _TELEMETRY,
        "Connection string of the storage account, or its URL, with a SAS or else for the managed identity.",
        "AZMLINFSRV_MODEL_DATA_BLOB_CONNECTION",
        secret=True,
        in_file=True,
    )
