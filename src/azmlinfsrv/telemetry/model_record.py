"""From a request and its response, or from what a script collects, to one row of model data.

Sources: `inference-server.md`, "Model Data Log"; the bodies are kept as they were received and sent.
"""

from __future__ import annotations

import base64
import functools
import time
import zlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import orjson

from azmlinfsrv import codec
from azmlinfsrv.messages import Body, Request, Response

# Name to type, in the order in which they are written; the schema of Parquet files derives from it.
FIELDS: Mapping[str, str] = {
    "kind": "text",
    "time": "time",
    "service": "text",
    "workspace": "text",
    "models": "texts",
    "host": "text",
    "request_id": "text",
    "client_request_id": "text",
    "method": "text",
    "route": "text",
    "query": "text",
    "status": "integer",
    "success": "boolean",
    "error": "text",
    "duration_ms": "number",
    "run_ms": "number",
    "input": "text",
    "input_encoding": "text",
    "input_type": "text",
    "input_bytes": "integer",
    "output": "text",
    "output_encoding": "text",
    "output_type": "text",
    "output_bytes": "integer",
    "streamed": "boolean",
    "collection": "text",
    "correlation_id": "text",
    "data": "text",
    "data_type": "text",
}

# What a record stands for in memory besides its bodies.
RECORD_BYTES = 1024

_RANGE = 1 << 32


class Origin(NamedTuple):
    """What every row of a server has in common.

    Attributes:
        service: SERVICE_NAME.
        workspace: WORKSPACE_NAME.
        models: ``name:version`` of each model.
        host: HOSTNAME, or the name of the machine.
    """

    service: str
    workspace: str
    models: tuple[str, ...]
    host: str


class RunRecord(NamedTuple):
    """What is kept of one call until its row is made; holds the bodies, and nothing of the connection."""

    time_s: float
    request_id: str
    client_id: str
    method: str
    path: str
    query: bytes
    input_type: bytes
    input: Body | None
    input_bytes: int
    status: int
    response_headers: list[tuple[str, str]]
    output: bytes | None
    output_bytes: int
    streamed: bool
    duration_ms: float
    run_ms: float | None
    error: str


class CollectedRecord(NamedTuple):
    """What a script collected: one call of a collector's ``collect()``."""

    time_s: float
    request_id: str
    collection: str
    correlation_id: str
    data: str
    data_type: str


def run_record(request: Request, response: Response, max_body_bytes: int) -> RunRecord:
    """Return the record of a call; it refers to the bodies and copies nothing. Called on the I/O thread.

    Args:
        request: the request.
        response: its finished response.
        max_body_bytes: a longer body is left out; its length stays.
    """
    elapsed_s = time.perf_counter() - request.received
    body, answer, streamed = request.body, response.body, response.stream is not None
    return RunRecord(
        time.time() - elapsed_s,
        request.ids.request_id,
        request.ids.client_id,
        request.method,
        request.path,
        request.query,
        request.headers.get(b"content-type", b""),
        body if len(body) <= max_body_bytes else None,
        len(body),
        response.status,
        response.headers,
        answer if len(answer) <= max_body_bytes and not streamed else None,
        len(answer),
        streamed,
        elapsed_s * 1000,
        response.exec_ms,
        response.error,
    )


def is_sampled(request_id: str, rate: float) -> bool:
    """Return whether a request belongs to the sample.

    Decided by the id alone: every worker, every retry and every collector of the script decides the same.
    """
    return zlib.crc32(request_id.encode()) < rate * _RANGE


def line(record: RunRecord | CollectedRecord, origin: Origin) -> bytes:
    """Return the row of a record as a line of JSON; what has no value is left out."""
    row = _run_row(record, origin) if isinstance(record, RunRecord) else _collected_row(record, origin)
    return codec.dumps_lossy(row) + b"\n"


def _run_row(record: RunRecord, origin: Origin) -> dict[str, Any]:
    row = _row("run", record.time_s, record.request_id, origin)
    if record.client_id:
        row["client_request_id"] = record.client_id
    row["method"], row["route"] = record.method, record.path
    if record.query:
        row["query"] = record.query.decode("utf-8", "replace")
    row["status"], row["success"] = record.status, record.status < 400
    error = record.error or (_message(record) if record.status >= 400 else "")
    if error:
        row["error"] = error
    row["duration_ms"] = round(record.duration_ms, 3)
    if record.run_ms is not None:
        row["run_ms"] = round(record.run_ms, 3)
    if record.input is not None:
        row["input"], row["input_encoding"] = _body(record.input)
    if record.input_type:
        row["input_type"] = record.input_type.decode("latin-1")
    row["input_bytes"] = record.input_bytes
    _add_output(row, record)
    return row


def _add_output(row: dict[str, Any], record: RunRecord) -> None:
    if record.output is not None:
        row["output"], row["output_encoding"] = _body(record.output)
    for name, value in record.response_headers:
        if name.lower() == "content-type":
            row["output_type"] = value
            break
    if not record.streamed:
        row["output_bytes"] = record.output_bytes
    row["streamed"] = record.streamed


def _collected_row(record: CollectedRecord, origin: Origin) -> dict[str, Any]:
    row = _row("collected", record.time_s, record.request_id, origin)
    row["collection"], row["correlation_id"] = record.collection, record.correlation_id
    row["data"], row["data_type"] = record.data, record.data_type
    return row


def _row(kind: str, time_s: float, request_id: str, origin: Origin) -> dict[str, Any]:
    second, microseconds = divmod(int(time_s * 1_000_000), 1_000_000)
    return {
        "kind": kind,
        "time": f"{_second(second)}.{microseconds:06d}Z",
        "service": origin.service,
        "workspace": origin.workspace,
        "models": origin.models,
        "host": origin.host,
        "request_id": request_id,
    }


@functools.lru_cache(16)
def _second(seconds: int) -> str:
    """Return a time in seconds since the epoch as ISO 8601 has it, in UTC."""
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))


def _body(body: Body) -> tuple[str, str]:
    """Return a body and its encoding: text where it is UTF-8, else Base64 (RFC 4648, 4)."""
    try:
        return body.decode(), "text"
    except UnicodeDecodeError:
        return base64.b64encode(body).decode("ascii"), "base64"


def _message(record: RunRecord) -> str:
    """Return the message of a call that failed before or after ``run()``, as its client got it."""
    try:
        content = orjson.loads(record.output or b"")
    except orjson.JSONDecodeError:
        return ""
    message = content.get("message") if isinstance(content, dict) else None
    return message if isinstance(message, str) else ""
