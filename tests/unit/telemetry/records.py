"""Requests, responses and rows for the tests of model data."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson

from azmlinfsrv.identity import RequestIds
from azmlinfsrv.messages import Request, Response
from azmlinfsrv.telemetry.model_record import Origin

ORIGIN = Origin("wine", "cellar", ("red:3",), "host-1")


def asked(
    body: bytes = b"{}",
    method: str = "POST",
    query: bytes = b"",
    content_type: bytes = b"application/json",
    request_id: str = "id-1",
    client_id: str = "",
) -> Request:
    """Return a request to the script that has its ids."""
    headers = {b"content-type": content_type} if content_type else {}
    request = Request(method, b"/score", "/score", query, headers, body, "1.1", ("", 0), time.perf_counter())
    request.ids = RequestIds(request_id, request_id, client_id)
    return request


def answered(
    status: int = 200,
    body: bytes = b"[1]",
    exec_ms: float | None = 1.5,
    content_type: str = "application/json",
    stream: Iterator[bytes] | None = None,
) -> Response:
    """Return a response as the application has completed it."""
    response = Response(status, body, [("Content-Type", content_type)], stream)
    response.exec_ms = exec_ms
    return response


def rows_in(folder: Path, pattern: str = "*.jsonl") -> list[dict[str, Any]]:
    """Return the rows of all finished files of a folder."""
    lines = (line for path in sorted(folder.glob(pattern)) for line in path.read_bytes().splitlines())
    return [orjson.loads(line) for line in lines]
