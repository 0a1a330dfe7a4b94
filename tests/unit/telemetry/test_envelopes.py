"""Records as envelopes of Application Insights."""

from __future__ import annotations

import json
from typing import Any

import pytest

from azmlinfsrv.telemetry.envelopes import NO_TEXT, Envelopes, full_url, release_duration, response_value, timespan
from azmlinfsrv.telemetry.records import VALUE_LIMIT
from azmlinfsrv.telemetry.trace_context import span_ids
from tests.telemetry.ingestion import KEY
from tests.unit.telemetry.samples import FAILURE, ORIGIN, SERVICE, exception, log_line, printed, request

IDS = span_ids(ORIGIN)


@pytest.fixture
def envelopes() -> Envelopes:
    """What makes envelopes, with the text of answers."""
    return Envelopes(KEY, SERVICE, log_response=True)


def test_the_fields_of_a_request(envelopes: Envelopes) -> None:
    """A request has its span, and every field of the document's request log under the release's names."""
    envelope, _ = envelopes.request(request())
    assert (envelope["name"], envelope["iKey"]) == ("Microsoft.ApplicationInsights.Request", KEY)
    assert envelope["time"] == "2023-11-14T22:13:20.123456Z"
    assert envelope["tags"] == {
        "ai.cloud.role": "my service",
        "ai.cloud.roleInstance": "my machine",
        "ai.internal.nodeName": "my machine",
        "ai.internal.sdkVersion": "azmlinfsrv:1.2.3",
        "ai.operation.id": "0af7651916cd43dd8448eb211c80319c",
        "ai.operation.parentId": "b7ad6b7169203331",
        "ai.operation.name": "/score",
    }
    data = envelope["data"]["baseData"]
    properties = data.pop("properties")
    assert data == {
        "ver": 2,
        "id": IDS.span_id,
        "name": "/score",
        "duration": "1.01:01:01.001002",
        "success": True,
        "responseCode": "200",
        "url": "http://example.org:5001/score?verbose=1",
        "measurements": {"run_ms": 1.25},
    }
    assert properties == {
        "Container Id": "my container",
        "Request Id": "request-1",
        "Client Request Id": "client-1",
        "Response Value": '{"got": 1}',
        "name": "/score",
        "url": "http://example.org:5001/score?verbose=1",
        "start_time": "2023-11-14T22:13:20.123456Z",
        "duration": "1.01:01:01.001",
        "resultCode": "200",
        "success": "True",
        "http_method": "POST",
        "Workspace Name": "my workspace",
        "Service Name": "my service",
    }


@pytest.mark.parametrize(
    ("changes", "success"),
    [({"status": 399}, True), ({"status": 400}, False), ({"status": 500}, False), ({"outcome": "aborted"}, False)],
)
def test_success(envelopes: Envelopes, changes: dict[str, Any], success: bool) -> None:
    """A request has succeeded if its status is below 400 and its answer came to its end."""
    data = envelopes.request(request(body=None, **changes))[0]["data"]["baseData"]
    assert (data["success"], data["properties"]["success"]) == (success, str(success))


def test_the_answer_can_be_left_out() -> None:
    """With APP_INSIGHTS_LOG_RESPONSE_ENABLED=false a request has no answer's text."""
    (envelope,) = Envelopes(KEY, SERVICE, log_response=False).request(request(body=None))
    assert "Response Value" not in envelope["data"]["baseData"]["properties"]


@pytest.mark.parametrize(
    ("response", "is_cut", "value"),
    [
        (b"", False, ""),
        ("ä€".encode(), False, "ä€"),
        ("ä€".encode()[:-1], True, "ä"),
        ("ä€".encode()[:-1], False, NO_TEXT),
        (b"\xff\xd8\xff", False, NO_TEXT),
        (None, False, NO_TEXT),
    ],
)
def test_the_text_of_answers(response: bytes | None, is_cut: bool, value: str) -> None:
    """Streams and binary bodies have the release's sentence; a character that was cut in two is left out."""
    assert response_value(request(response=response, is_cut=is_cut)) == value


def test_model_data(envelopes: Envelopes) -> None:
    """Model data has every field of the document, under the release's message, within the request's span."""
    _, envelope = envelopes.request(request())
    assert envelope["name"] == "Microsoft.ApplicationInsights.Message"
    assert envelope["tags"]["ai.operation.id"] == IDS.trace_id
    assert envelope["tags"]["ai.operation.parentId"] == IDS.span_id
    data = envelope["data"]["baseData"]
    assert data["message"] == "model_data_collection"
    assert data["properties"] == {
        "Container Id": "my container",
        "Request Id": "request-1",
        "Client Request Id": "client-1",
        "Workspace Name": "my workspace",
        "Service Name": "my service",
        "Models": '["model:1", "other:2"]',
        "Input": json.dumps('{"data": 1}'),
        "Prediction": '{"got": 1}',
    }


def test_the_input_of_a_schema(envelopes: Envelopes) -> None:
    """Where run() gets parameters and no text, the input is the JSON of the body itself."""
    _, envelope = envelopes.request(request(is_text=False))
    assert envelope["data"]["baseData"]["properties"]["Input"] == '{"data": 1}'


@pytest.mark.parametrize("changes", [{"body": None}, {"run_ms": None}])
def test_no_model_data(envelopes: Envelopes, changes: dict[str, Any]) -> None:
    """There is no model data where it is not collected, nor where run() did not come to its end."""
    assert len(envelopes.request(request(**changes))) == 1


def test_values_are_cut(envelopes: Envelopes) -> None:
    """No value is longer than the service takes."""
    long = request(body=b"x" * VALUE_LIMIT, response=b"y" * VALUE_LIMIT, is_cut=True, target=b"/score?" + b"z" * 9000)
    made = [
        *envelopes.request(long),
        envelopes.printed(printed(text="p" * 9000)),
        envelopes.log_line(log_line(message="m" * 40000)),
    ]
    for envelope in made:
        data = envelope["data"]["baseData"]
        assert max(map(len, data["properties"].values())) <= VALUE_LIMIT
        assert len(data.get("message", "")) <= 32768 and len(data.get("url", "")) <= 2048


@pytest.mark.parametrize(("stream", "message", "severity"), [("stdout", "STDOUT", 1), ("stderr", "STDERR", 3)])
def test_printed_lines(envelopes: Envelopes, stream: str, message: str, severity: int) -> None:
    """A printed line is under STDOUT or STDERR, its content with the request id before it."""
    data = envelopes.printed(printed(stream=stream))["data"]["baseData"]
    assert (data["message"], data["severityLevel"]) == (message, severity)
    assert data["properties"]["Content"] == "request-1,hello"
    assert data["properties"]["Request Id"] == "request-1"


def test_a_line_of_init(envelopes: Envelopes) -> None:
    """Outside of requests the id is zeros, and there is no operation."""
    zeros = "00000000-0000-0000-0000-000000000000"
    envelope = envelopes.printed(printed(request_id=zeros, origin=None))
    assert envelope["data"]["baseData"]["properties"]["Content"] == f"{zeros},hello"
    assert "ai.operation.id" not in envelope["tags"]


@pytest.mark.parametrize(("level", "severity"), [(10, 0), (20, 1), (25, 1), (30, 2), (40, 3), (50, 4), (60, 4)])
def test_log_lines(envelopes: Envelopes, level: int, severity: int) -> None:
    """A record of the script's logging keeps its message, level, logger and place."""
    envelope = envelopes.log_line(log_line(level=level))
    data = envelope["data"]["baseData"]
    assert (data["message"], data["severityLevel"]) == ("beware", severity)
    assert data["properties"]["logger_name"] == "my.logger"
    assert data["properties"]["code.line.number"] == "5"
    assert envelope["tags"]["ai.operation.parentId"] == IDS.span_id


def test_a_message_without_text(envelopes: Envelopes) -> None:
    """An empty message, which the service refuses, gets a text."""
    assert envelopes.log_line(log_line(message=" "))["data"]["baseData"]["message"] == "n/a"


def test_exceptions(envelopes: Envelopes) -> None:
    """An exception has type, message, stack, the user's frames (innermost first) and the ids."""
    envelope = envelopes.exception(exception())
    assert envelope["name"] == "Microsoft.ApplicationInsights.Exception"
    assert envelope["tags"]["ai.operation.id"] == IDS.trace_id
    data = envelope["data"]["baseData"]
    assert data["exceptions"] == [
        {
            "typeName": "ValueError",
            "message": "no such thing",
            "hasFullStack": True,
            "stack": "Traceback …",
            "parsedStack": [
                {"level": 0, "method": "deep", "fileName": "lib.py", "line": 3},
                {"level": 1, "method": "run", "fileName": "score.py", "line": 7},
            ],
        }
    ]
    assert data["properties"]["Container Id"] == "my container"
    assert data["properties"]["Request Id"] == "request-1"
    assert data["properties"]["Client Request Id"] == "client-1"


def test_an_exception_of_init(envelopes: Envelopes) -> None:
    """Without a request the id is the release's word for it."""
    data = envelopes.exception(exception(origin=None))["data"]["baseData"]
    assert data["properties"]["Request Id"] == "Unknown"


def test_a_log_line_with_an_exception(envelopes: Envelopes) -> None:
    """`logger.exception` is an exception, with the message beside it."""
    envelope = envelopes.log_line(log_line(failure=FAILURE, level=40))
    assert envelope["name"] == "Microsoft.ApplicationInsights.Exception"
    assert envelope["data"]["baseData"]["properties"]["Message"] == "beware"


@pytest.mark.parametrize(
    ("duration_ns", "text"),
    [(0, "0.00:00:00.000000"), (1_234_567, "0.00:00:00.001234"), (3_661_000_001_000, "0.01:01:01.000001")],
)
def test_timespans(duration_ns: int, text: str) -> None:
    """A duration keeps its microseconds: a fast request does not take 0 ms."""
    assert timespan(duration_ns) == text


@pytest.mark.parametrize(
    ("duration_ms", "text"), [(0, "00:00:00.000"), (1002, "00:00:01.002"), (90_061_001, "1.01:01:01.001")]
)
def test_the_release_s_durations(duration_ms: int, text: str) -> None:
    """The custom dimension is written as release 1.5.1 does."""
    assert release_duration(duration_ms) == text


@pytest.mark.parametrize(
    ("target", "url"),
    [(b"/score?a=%20", "http://example.org:5001/score?a=%20"), (b"http://other.test/score", "http://other.test/score")],
)
def test_urls(target: bytes, url: str) -> None:
    """The URL is the one that the client asked for, parameters included, whatever the form of the target."""
    assert full_url(request(target=target)) == url
