"""The back end of Application Insights: the real exporter against a stand-in of the ingestion endpoint."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Iterator

import pytest
from opentelemetry.sdk.trace import TracerProvider

from azmlinfsrv.connection_string import Target, parse_target
from azmlinfsrv.telemetry import insights
from azmlinfsrv.telemetry.insights import Insights
from azmlinfsrv.telemetry.pipeline import Pipeline
from azmlinfsrv.telemetry.records import PrintedLine
from tests.telemetry.ingestion import KEY, Answer, Envelope, Ingestion, refusing_url, wait_until
from tests.unit.telemetry.samples import SERVICE, exception, log_line, printed, request

PATIENCE_S = 20.0


@pytest.fixture
def ingestion() -> Iterator[Ingestion]:
    """The stand-in."""
    standin = Ingestion()
    yield standin
    standin.close()


@pytest.fixture
def start(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Pipeline]]:
    """A function that starts a pipeline to an address; it is closed after the test."""
    for variable in insights._SILENCED:
        monkeypatch.setenv(variable, os.environ.get(variable, ""))
    monkeypatch.setattr(insights, "CONNECT_TIMEOUT_S", 1.0)
    monkeypatch.setattr(insights, "READ_TIMEOUT_S", 0.5)
    exporter_logger = logging.getLogger("azure.monitor.opentelemetry.exporter")
    before = exporter_logger.propagate, list(exporter_logger.handlers)
    started: list[Pipeline] = []

    def new(url: str, *, limit: int = 2048) -> Pipeline:
        target = parse_target(KEY, url)
        assert target is not None
        pipeline = Pipeline(Insights(target, SERVICE, log_response=True), limit)
        pipeline.start()
        started.append(pipeline)
        return pipeline

    yield new
    for pipeline in started:
        pipeline.close(PATIENCE_S)
    exporter_logger.propagate, exporter_logger.handlers[:] = before


def send(pipeline: Pipeline, *records: object) -> None:
    """Put records as the server does."""
    for record in records:
        if pipeline.has_room():
            pipeline.put(record)


def test_a_text_that_is_not_utf_8_costs_no_record() -> None:
    """A lone surrogate that the script prints becomes a question mark."""
    target = parse_target(KEY, "http://127.0.0.1:1")
    assert target is not None
    line = PrintedLine(1, "stdout", "A", "bad \udc80 name", None)
    assert b"A,bad ? name" in Insights(target, SERVICE, log_response=True).encode(line)


def test_records_of_all_kinds_arrive(start: Callable[..., Pipeline], ingestion: Ingestion) -> None:
    """Each kind of record arrives as its own kind of envelope, compressed, at the documented path."""
    pipeline = start(ingestion.url)
    send(pipeline, request(), printed(), log_line(), exception())
    assert pipeline.flush(PATIENCE_S)
    kinds = [each["data"]["baseType"] for each in ingestion.envelopes]
    assert kinds == ["RequestData", "MessageData", "MessageData", "MessageData", "ExceptionData"]
    assert {each["iKey"] for each in ingestion.envelopes} == {KEY}
    assert set(ingestion.requests) == {"POST /v2.1/track HTTP/1.1"}
    assert set(ingestion.encodings) == {"gzip"}
    assert (pipeline.sent, pipeline.dropped) == (4, 0)


def test_partial_success(start: Callable[..., Pipeline], ingestion: Ingestion) -> None:
    """Of a 206, what may be sent again is, without what was accepted, and what was refused for good is counted."""
    first = Answer(206, {1: 500, 2: 400})
    ingestion.answer = lambda number, _: first if number == 0 else Answer()
    pipeline = start(ingestion.url)
    send(pipeline, *[printed(text=str(number)) for number in range(4)])
    assert pipeline.flush(PATIENCE_S)
    assert [content(each) for each in ingestion.envelopes] == ["0", "3", "1"]
    assert [len(batch) for batch in ingestion.batches] == [4, 1]
    assert (pipeline.sent, pipeline.dropped) == (3, 1)


def test_partial_success_of_a_request_with_model_data(start: Callable[..., Pipeline], ingestion: Ingestion) -> None:
    """The two envelopes of a request belong together: if one is to be sent again, both are."""
    ingestion.answer = lambda number, _: Answer(206, {1: 429}) if number == 0 else Answer()
    pipeline = start(ingestion.url)
    send(pipeline, request(), printed())
    assert pipeline.flush(PATIENCE_S)
    assert [len(batch) for batch in ingestion.batches] == [3, 2]
    assert (pipeline.sent, pipeline.dropped) == (2, 0)


@pytest.mark.parametrize("status", [408, 429, 500, 503])
def test_an_error_that_passes(start: Callable[..., Pipeline], ingestion: Ingestion, status: int) -> None:
    """A batch that was refused for a while is sent again, and arrives once."""
    ingestion.answer = lambda number, _: Answer(status, headers={"Retry-After": "1"}) if number == 0 else Answer()
    pipeline = start(ingestion.url)
    send(pipeline, printed())
    assert pipeline.flush(PATIENCE_S)
    assert len(ingestion.batches) == 2
    assert len(ingestion.envelopes) == 1
    assert (pipeline.sent, pipeline.dropped) == (1, 0)


@pytest.mark.parametrize("status", [400, 402, 404, 439])
def test_an_error_for_good(start: Callable[..., Pipeline], ingestion: Ingestion, status: int) -> None:
    """A batch that is wrong, or beyond the quota, is dropped and counted, and never sent again."""
    ingestion.answer = lambda _number, _: Answer(status)
    pipeline = start(ingestion.url)
    send(pipeline, printed())
    assert pipeline.flush(PATIENCE_S)
    assert len(ingestion.batches) == 1
    assert (pipeline.sent, pipeline.dropped) == (0, 1)


def test_an_endpoint_that_refuses(start: Callable[..., Pipeline], caplog: pytest.LogCaptureFixture) -> None:
    """Where nothing listens, records wait in a bounded queue, the rest is counted, and the log says so once."""
    with refusing_url() as url, caplog.at_level(logging.DEBUG):
        pipeline = start(url, limit=100)
        send(pipeline, *[printed() for _ in range(100)])
        wait_until(lambda: caplog.records)
        send(pipeline, *[printed() for _ in range(5000)])
        assert pipeline.dropped >= 4900
        pipeline.close(PATIENCE_S)
    assert (pipeline.sent, pipeline.dropped) == (0, 5100)
    told = [record.getMessage() for record in caplog.records if record.name.startswith("azmlinfsrv")]
    assert told == [
        "Application Insights: telemetry is not accepted: ServiceRequestError",
        "Application Insights: 5100 records of telemetry were dropped",
    ]
    assert KEY not in caplog.text


def test_an_endpoint_that_hangs(start: Callable[..., Pipeline], ingestion: Ingestion) -> None:
    """An endpoint that never answers is given up after the timeout, and gets the records once it is well again."""
    ingestion.hang.set()
    pipeline = start(ingestion.url, limit=50)
    send(pipeline, printed())
    ingestion.wait_for(lambda: ingestion.batches)
    send(pipeline, *[printed() for _ in range(100)])
    assert pipeline.dropped == 50
    ingestion.hang.clear()
    assert pipeline.flush(PATIENCE_S)
    assert len(ingestion.envelopes) == pipeline.sent == 51


def test_redirects(start: Callable[..., Pipeline], ingestion: Ingestion) -> None:
    """A redirect within the same host is followed, and remembered."""
    location = f"{ingestion.url}/v2.1/track"
    ingestion.answer = lambda number, _: Answer(308, headers={"Location": location}) if number == 0 else Answer()
    pipeline = start(ingestion.url)
    send(pipeline, printed())
    assert pipeline.flush(PATIENCE_S)
    assert len(ingestion.envelopes) == 1


@pytest.mark.parametrize(
    ("endpoint", "location", "follows"),
    [
        ("https://dc.services.visualstudio.com", "https://west.in.applicationinsights.azure.com/v2.1/track", True),
        ("https://dc.services.visualstudio.com", "https://evil.test/v2.1/track", False),
        ("https://dc.services.visualstudio.com", "http://dc.services.visualstudio.com/v2.1/track", False),
        ("https://dc.services.visualstudio.com", "https://evilservices.visualstudio.com.test/", False),
        ("http://127.0.0.1:1", "http://127.0.0.1:1/v2.1/track", True),
        ("http://127.0.0.1:1", "http://127.0.0.1:2/v2.1/track", False),
        ("http://127.0.0.1:1", "", False),
    ],
)
def test_where_redirects_may_lead(endpoint: str, location: str, follows: bool) -> None:
    """Telemetry goes from Azure's hosts to Azure's hosts, and from others nowhere else."""
    assert Insights(Target(KEY, endpoint), SERVICE, log_response=True)._follow(location) is follows


def test_a_redirect_elsewhere_is_not_followed(start: Callable[..., Pipeline], ingestion: Ingestion) -> None:
    """What an endpoint may not redirect is dropped and counted."""
    elsewhere = Ingestion()
    try:
        ingestion.answer = lambda _number, _: Answer(307, headers={"Location": f"{elsewhere.url}/v2.1/track"})
        pipeline = start(ingestion.url)
        send(pipeline, printed())
        assert pipeline.flush(PATIENCE_S)
        assert (pipeline.sent, pipeline.dropped, elsewhere.batches) == (0, 1, [])
    finally:
        elsewhere.close()


def test_spans_of_the_user_s_code(start: Callable[..., Pipeline], ingestion: Ingestion) -> None:
    """A span of OpenTelemetry's SDK goes through the exporter itself, and becomes a dependency."""
    pipeline = start(ingestion.url)
    provider = TracerProvider(shutdown_on_exit=False)
    span = provider.get_tracer("mine").start_span("look up", attributes={"table": "t"})
    span.end()
    send(pipeline, span)
    assert pipeline.flush(PATIENCE_S)
    (envelope,) = ingestion.of_type("RemoteDependencyData")
    assert envelope["data"]["baseData"]["name"] == "look up"
    assert envelope["data"]["baseData"]["properties"]["table"] == "t"
    assert envelope["tags"]["ai.operation.id"] == f"{span.get_span_context().trace_id:032x}"


def test_nothing_else_is_started(start: Callable[..., Pipeline], ingestion: Ingestion) -> None:
    """The exporter gets no threads of its own: no statistics on itself, no live metrics, no storage on disk."""
    before = {thread.name for thread in threading.enumerate()}
    pipeline = start(ingestion.url)
    send(pipeline, printed())
    assert pipeline.flush(PATIENCE_S)
    own = {thread.name for thread in threading.enumerate()} - before
    assert {name for name in own if "process_request_thread" not in name} == {"telemetry Application Insights"}
    assert {envelope["data"]["baseType"] for envelope in ingestion.envelopes} == {"MessageData"}


def content(envelope: Envelope) -> str:
    """Return what was printed, without the id before it."""
    text: str = envelope["data"]["baseData"]["properties"]["Content"]
    return text.partition(",")[2]
