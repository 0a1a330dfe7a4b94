"""Binary bodies and answers of real servers."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np
import pytest

from tests.process.conftest import SharedServer
from tests.servers import RunningServer

if TYPE_CHECKING:
    import httpx

pytestmark = pytest.mark.process

NPY = "application/x-npy"
RAW = "application/octet-stream"
ARRAY = np.arange(40_000.0).reshape(20_000, 2)


@pytest.fixture
def schema(shared_server: SharedServer) -> RunningServer:
    """A server of a decorated script."""
    return shared_server("schema.py", env={"AZMLINFSRV_MAX_BODY_BYTES": "1000000"})


def npy(array: object) -> bytes:
    """Return an array as a file."""
    file = io.BytesIO()
    np.save(file, np.asarray(array))
    return file.getvalue()


def score(server: RunningServer, body: bytes, content_type: str, accept: str = "*/*") -> httpx.Response:
    """Send a body."""
    return server.client.post("/score", content=body, headers={"Content-Type": content_type, "Accept": accept})


@pytest.mark.parametrize(("body", "content_type"), [(npy(ARRAY), NPY), (ARRAY.tobytes(), RAW)])
def test_arrays_go_in_and_out(schema: RunningServer, body: bytes, content_type: str) -> None:
    """Arrays are scored as files and as bare numbers, and answered as either, or as JSON."""
    sums = ARRAY.sum(axis=1) * 2
    plain = score(schema, body, content_type)
    assert (plain.status_code, plain.headers["content-type"]) == (200, "application/json")
    assert plain.json() == sums.tolist()
    answer = score(schema, body, content_type, NPY)
    assert (answer.status_code, answer.headers["content-type"]) == (200, NPY)
    assert answer.headers["x-ms-run-function-failed"] == "False" and "x-request-id" in answer.headers
    np.testing.assert_array_equal(np.load(io.BytesIO(answer.content)), sums)
    raw = score(schema, body, content_type, RAW)
    assert (raw.content, raw.headers["content-type"]) == (sums.tobytes(), RAW)


def test_large_json_arrays_are_scored(schema: RunningServer) -> None:
    """A JSON body that simdjson reads, and one that it leaves to the usual way, mean the same."""
    expected = (ARRAY.sum(axis=1) * 3).tolist()
    assert schema.client.post("/score", json={"data": ARRAY.tolist(), "scale": 3}).json() == expected
    mixed = [[str(first), second] for first, second in ARRAY.tolist()]
    assert schema.client.post("/score", json={"data": mixed, "scale": 3}).json() == expected


@pytest.mark.parametrize(
    ("body", "content_type", "status", "message"),
    [
        (b"", NPY, 400, "POST body is empty. Expecting application/x-npy."),
        (b"{}", NPY, 400, "POST body could not be decoded as application/x-npy: not a .npy file"),
        (b"x", RAW, 400, "POST body could not be decoded as application/octet-stream: expected a multiple of 16 bytes"),
        (npy([[1, 2, 3]]), NPY, 400, "The 'data' parameter is not valid. Expected an array of float64 with the shape"),
        (npy([["a", "b"]]), NPY, 400, "POST body could not be decoded as application/x-npy: found <U1, expected num"),
        (b"x", "application/vnd.apache.arrow.stream", 415, "Expects Content-Type to be application/json or applicat"),
        (bytes(1_000_016), RAW, 413, "The request body is larger than 1000000 bytes"),
    ],
    ids=["empty", "no file", "too short", "wrong shape", "text", "a frame", "too large"],
)
def test_bad_binary_bodies(schema: RunningServer, body: bytes, content_type: str, status: int, message: str) -> None:
    """A body that cannot be the input is an error in JSON with its reason, whatever the client accepts."""
    response = score(schema, body, content_type, NPY)
    assert (response.status_code, response.headers["content-type"]) == (status, "application/json")
    assert response.json()["message"].startswith(message)
    assert score(schema, npy([[1, 2]]), NPY).json() == [6.0], "the next request is answered"
