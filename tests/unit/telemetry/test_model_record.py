"""Rows of model data."""

from __future__ import annotations

import base64
from datetime import datetime, timezone
from typing import Any

import orjson
import pytest

from azmlinfsrv.messages import Request, Response
from azmlinfsrv.telemetry import model_record
from azmlinfsrv.telemetry.model_record import CollectedRecord, is_sampled, run_record
from tests.unit.telemetry.records import ORIGIN, answered, asked


def row(request: Request, response: Response, max_body_bytes: int = 1000) -> dict[str, Any]:
    """Return the row of a call, parsed from its line."""
    line = model_record.line(run_record(request, response, max_body_bytes), ORIGIN)
    assert line.endswith(b"}\n") and line.count(b"\n") == 1
    content: dict[str, Any] = orjson.loads(line)
    return content


def test_a_call_has_every_documented_field() -> None:
    """The row of a call says who was asked what by whom, when, for how long, and how it ended."""
    content = row(asked(b'{"a": 1}\n', query=b"x=1", request_id="A", client_id="C"), answered(body=b"[2]"))
    moment = datetime.fromisoformat(content.pop("time").replace("Z", "+00:00"))
    assert abs((datetime.now(timezone.utc) - moment).total_seconds()) < 60
    assert 0 <= content.pop("duration_ms") < 60_000
    assert content == {
        "kind": "run",
        "service": "wine",
        "workspace": "cellar",
        "models": ["red:3"],
        "host": "host-1",
        "request_id": "A",
        "client_request_id": "C",
        "method": "POST",
        "route": "/score",
        "query": "x=1",
        "status": 200,
        "success": True,
        "run_ms": 1.5,
        "input": '{"a": 1}\n',
        "input_encoding": "text",
        "input_type": "application/json",
        "input_bytes": 9,
        "output": "[2]",
        "output_encoding": "text",
        "output_type": "application/json",
        "output_bytes": 3,
        "streamed": False,
    }


def test_a_text_that_is_not_utf_8_costs_no_record() -> None:
    """A lone surrogate, as the name of a file may have it, becomes a question mark."""
    response = answered(500)
    response.error = "FileNotFoundError: \udc80.bin"
    assert row(asked(), response)["error"] == "FileNotFoundError: ?.bin"


def test_a_record_refers_to_the_bodies() -> None:
    """A record copies nothing, whatever the size of the bodies: handing it over costs the same."""
    request, response = asked(b"x" * 100_000), answered(body=b"y" * 100_000)
    record = run_record(request, response, 100_000)
    assert record.input is request.body and record.output is response.body


@pytest.mark.parametrize("status", [400, 404, 500])
def test_a_failed_call_has_its_message(status: int) -> None:
    """What the client was told is the error, unless what the script raised is known."""
    failed = answered(status, b'{"message": "what went wrong"}', exec_ms=None)
    content = row(asked(), failed)
    assert (content["success"], content["error"]) == (False, "what went wrong")
    assert "run_ms" not in content
    failed.error = "ValueError: no"
    assert row(asked(), failed)["error"] == "ValueError: no"


@pytest.mark.parametrize("body", [b"", b"plain", b"[1]", b'{"message": 1}', b'{"other": "x"}', b"\xff"])
def test_a_failed_call_may_have_no_message(body: bytes) -> None:
    """The body of a failure may be anything."""
    content = row(asked(), answered(500, body))
    assert content["success"] is False and "error" not in content


def test_a_body_that_is_no_text_is_base64() -> None:
    """Bytes that are not UTF-8 are kept as Base64, and the row says so."""
    image = bytes(range(256))
    content = row(asked(image, content_type=b"image/png"), answered(body=image, content_type="image/png"))
    for side in ("input", "output"):
        assert content[f"{side}_encoding"] == "base64"
        assert base64.b64decode(content[side]) == image
        assert (content[f"{side}_type"], content[f"{side}_bytes"]) == ("image/png", 256)


def test_a_large_body_leaves_its_length() -> None:
    """A body above the limit is not held, not even until the row is made; one at the limit is whole."""
    record = run_record(asked(b"x" * 11), answered(body=b"y" * 11), 10)
    assert record.input is None and record.output is None
    content = row(asked(b"x" * 11), answered(body=b"y" * 10), 10)
    assert (content["input_bytes"], content["output"]) == (11, "y" * 10)
    assert "input" not in content and "input_encoding" not in content


def test_a_stream_is_told_and_not_touched() -> None:
    """Of a stream there is the fact and its type; its chunks are left to the client."""
    chunks = iter([b"one", b"two"])
    content = row(asked(), answered(body=b"", content_type="text/event-stream", stream=chunks))
    assert (content["streamed"], content["output_type"]) == (True, "text/event-stream")
    assert "output" not in content and "output_bytes" not in content
    assert list(chunks) == [b"one", b"two"]


@pytest.mark.parametrize("content_type", [b"", b"caf\xe9"])
def test_odd_headers_do_no_harm(content_type: bytes) -> None:
    """A request without a content type, or with bytes in it that are no ASCII, has a row."""
    content = row(asked(query=b"\xff", content_type=content_type), answered())
    assert content.get("input_type") == (content_type.decode("latin-1") or None)


def test_the_body_is_not_copied() -> None:
    """The record refers to the very bytes that were received."""
    body, answer = b"x" * 500, b"y" * 500
    record = run_record(asked(body), answered(body=answer), 1000)
    assert record.input is body and record.output is answer


def test_what_a_script_collected() -> None:
    """The row of a collector has the collection, the correlation id, the request and the data."""
    record = CollectedRecord(0.0, "A", "inputs", "c-1", '[{"a":1}]', "pandas.DataFrame")
    assert orjson.loads(model_record.line(record, ORIGIN)) == {
        "kind": "collected",
        "time": "1970-01-01T00:00:00.000000Z",
        "service": "wine",
        "workspace": "cellar",
        "models": ["red:3"],
        "host": "host-1",
        "request_id": "A",
        "collection": "inputs",
        "correlation_id": "c-1",
        "data": '[{"a":1}]',
        "data_type": "pandas.DataFrame",
    }


@pytest.mark.parametrize("form", ["{0:032x}", "{0}", "request-{0}", "00000000-0000-0000-0000-{0:012d}"])
@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
def test_the_sample_has_its_size(form: str, rate: float) -> None:
    """The share of ids in the sample is the rate, whatever the ids look like."""
    hits = sum(is_sampled(form.format(number), rate) for number in range(10_000))
    assert abs(hits / 10_000 - rate) < 0.03


def test_the_sample_depends_on_the_id_alone() -> None:
    """The same id is always in the sample or always out of it, and a larger sample holds the smaller one."""
    ids = [f"id-{number}" for number in range(500)]
    small = {each for each in ids if is_sampled(each, 0.2)}
    assert small == {each for each in ids if is_sampled(each, 0.2)}
    assert small < {each for each in ids if is_sampled(each, 0.6)}
    assert not any(is_sampled(each, 0) for each in ids)
    assert all(is_sampled(each, 1) for each in ids)
