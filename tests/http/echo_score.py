"""The scoring script of the HTTP table: tells what it was sent, or answers as the query asks.

Query: `size=N` N digits; `stream=1` five pieces; `stream=empty` none; `stream=fail` two, then an error;
`stream=gate&gate=FILE` one, and the second when the file is there; `status=N` that status; `sleep_ms=N` takes
its time; `mark=FILE` makes that file.
"""

from __future__ import annotations

import hashlib
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

from azureml.contrib.services.aml_request import AMLRequest, rawhttp
from azureml.contrib.services.aml_response import AMLResponse

if TYPE_CHECKING:
    from collections.abc import Iterator


def init() -> None:
    """Load nothing."""


def _pieces(kind: str, gate: str) -> Iterator[bytes]:
    if kind == "empty":
        return
    yield b"piece-0;"
    deadline = time.monotonic() + 10
    while kind == "gate" and not os.path.exists(gate) and time.monotonic() < deadline:
        time.sleep(0.01)
    yield b"piece-1;"
    if kind == "fail":
        raise RuntimeError("the stream breaks here, as the test wants it")
    if kind == "gate":
        return
    for number in range(2, 5):
        yield b"piece-%d;" % number


@rawhttp
def run(request: AMLRequest) -> AMLResponse:
    """Answer as the query asks; without one, describe the request as JSON."""
    query = request.args
    time.sleep(int(query.get("sleep_ms", 0)) / 1000)
    if "mark" in query:
        Path(query["mark"]).touch()
    if "stream" in query:
        return AMLResponse(_pieces(query["stream"], query.get("gate", "")), 200)
    if "size" in query:
        size = int(query["size"])
        return AMLResponse((b"0123456789" * (size // 10 + 1))[:size], 200)
    if "status" in query:
        return AMLResponse(b"a body that some statuses do not have", int(query["status"]))
    body = request.get_data()
    facts = {
        "method": request.method,
        "path": request.path,
        "query": request.query_string.decode("latin-1"),
        "length": len(body),
        "sha256": hashlib.sha256(body).hexdigest(),
        "echo": request.headers.get("X-Echo"),
        "names": sorted(name.lower() for name, _ in request.headers.items()),
    }
    return AMLResponse(facts, 200, json_str=True)
