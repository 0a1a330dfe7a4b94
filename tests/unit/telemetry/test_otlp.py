"""The back end of OTLP: the real exporters against real services, over gRPC and HTTP."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from azmlinfsrv.telemetry.otlp import GRPC, HTTP, Otlp, is_wanted, protocol
from azmlinfsrv.telemetry.pipeline import Pipeline
from azmlinfsrv.telemetry.trace_context import span_ids
from tests.telemetry.collector import Collector, attributes, grpc_collector, http_collector
from tests.telemetry.ingestion import refusing_url
from tests.unit.telemetry.samples import FAILURE, ORIGIN, SERVICE, START_NS, exception, log_line, printed, request

PATIENCE_S = 20.0
IDS = span_ids(ORIGIN)
Start = Callable[..., Pipeline]


class Described(NamedTuple):
    """A metric's description."""

    name: str
    kind: str
    labels: tuple[str, ...]
    help: str
    unit: str
    bounds: tuple[float, ...] = (0.1, 0.5)


class Reading(NamedTuple):
    """A metric's values."""

    metric: Described
    values: list[tuple[tuple[str, ...], Any]]


READINGS = [
    Reading(Described("requests_total", "counter", ("route",), "Requests.", ""), [(("/score",), 3.0)]),
    Reading(Described("body_bytes_total", "counter", (), "Bytes.", "bytes"), [((), 12.0)]),
    Reading(Described("in_flight", "gauge", (), "In flight.", ""), [((), 2.0)]),
    Reading(Described("run_seconds", "histogram", ("route",), "Time.", "seconds"), [(("/score",), [1.5, 1, 2, 3])]),
]


@pytest.fixture(params=[GRPC, HTTP])
def collector(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    """A collector, over each of the protocols, to which the standard variables point."""
    make = contextmanager(grpc_collector if request.param == GRPC else http_collector)
    with make() as (collector, url):
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", url)
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", request.param)
        yield collector


@pytest.fixture
def start(monkeypatch: pytest.MonkeyPatch) -> Iterator[Start]:
    """A function that starts a pipeline with the environment of the moment; it is closed after the test.

    A test asks for it after the collector: otherwise each pipeline tries for a second to reach what is gone.
    """
    monkeypatch.setenv("GRPC_VERBOSITY", "NONE")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "2")
    loggers = [logging.getLogger(name) for name in ("opentelemetry.exporter", "opentelemetry.sdk")]
    before = [(logger.propagate, list(logger.handlers)) for logger in loggers]
    started: list[Pipeline] = []

    def new(**environ: str) -> Pipeline:
        import os

        for name, value in environ.items():
            monkeypatch.setenv(name, value)
        pipeline = Pipeline(Otlp(SERVICE, os.environ, lambda: READINGS))
        pipeline.start()
        started.append(pipeline)
        return pipeline

    yield new
    for pipeline in started:
        pipeline.close(PATIENCE_S)
    for logger, (propagate, handlers) in zip(loggers, before, strict=True):
        logger.propagate, logger.handlers[:] = propagate, handlers


def send(pipeline: Pipeline, *records: object) -> None:
    """Put records, and wait until they have been sent."""
    for record in records:
        pipeline.put(record)
    assert pipeline.flush(PATIENCE_S)


def test_the_span_of_a_request(collector: Collector, start: Start) -> None:
    """A request is a server span with its true times, the caller as its parent, and the conventions' attributes."""
    send(start(), request(body=None))
    (span,) = collector.spans()
    assert (span.name, span.kind) == ("POST /score", Span.SPAN_KIND_SERVER)
    assert (span.trace_id.hex(), span.span_id.hex()) == (IDS.trace_id, IDS.span_id)
    assert (span.parent_span_id.hex(), span.trace_state) == ("b7ad6b7169203331", "a=b")
    assert span.start_time_unix_nano == START_NS
    assert span.end_time_unix_nano - span.start_time_unix_nano == 90_061_001_002_003
    assert attributes(span) == {
        "http.request.method": "POST",
        "http.response.status_code": 200,
        "http.response.body.size": 10,
        "http.route": "/score",
        "url.path": "/score",
        "url.query": "verbose=1",
        "url.scheme": "http",
        "server.address": "example.org",
        "client.address": "192.0.2.1",
        "user_agent.original": "agent/1",
        "network.protocol.version": "1.1",
        "azmlinfsrv.request_id": "request-1",
        "azmlinfsrv.client_request_id": "client-1",
        "azmlinfsrv.run_ms": 1.25,
    }
    assert span.status.code == Status.STATUS_CODE_UNSET
    (resource,) = collector.resources()
    assert (resource["service.name"], resource["service.version"]) == ("my service", "1.2.3")


@pytest.mark.parametrize(
    ("changes", "code", "kind"),
    [
        ({"status": 404}, Status.STATUS_CODE_UNSET, None),
        ({"status": 500}, Status.STATUS_CODE_ERROR, "500"),
        ({"outcome": "aborted"}, Status.STATUS_CODE_ERROR, "aborted"),
    ],
)
def test_the_status_of_a_span(
    collector: Collector, start: Start, changes: dict[str, Any], code: int, kind: str | None
) -> None:
    """By the conventions a server span fails at 500 and above, and not by its client's mistakes."""
    send(start(), request(body=None, **changes))
    (span,) = collector.spans()
    assert span.status.code == code
    assert attributes(span).get("error.type") == kind


def test_logs(collector: Collector, start: Start) -> None:
    """Model data, printed lines, log lines and exceptions are log records within the request's span."""
    pipeline = start()
    send(pipeline, request(), printed(), log_line(), exception(), log_line(failure=FAILURE, message="oh"))
    logs = {record.body.string_value: record for record in collector.logs()}
    assert set(logs) == {"model_data_collection", "hello", "beware", "no such thing", "oh"}
    for record in logs.values():
        assert (record.trace_id.hex(), record.span_id.hex()) == (IDS.trace_id, IDS.span_id)
        assert attributes(record)["azmlinfsrv.request_id"] == "request-1"
    model_data = attributes(logs["model_data_collection"])
    assert model_data["azmlinfsrv.input"] == '{"data": 1}'
    assert model_data["azmlinfsrv.prediction"] == '{"got": 1}'
    assert model_data["azmlinfsrv.models"] == ["model:1", "other:2"]
    assert attributes(logs["hello"])["log.iostream"] == "stdout"
    assert (logs["beware"].severity_text, attributes(logs["beware"])["code.line.number"]) == ("WARNING", 5)
    for name in ("no such thing", "oh"):
        found = attributes(logs[name])
        assert (found["exception.type"], found["exception.stacktrace"]) == ("ValueError", "Traceback …")
    assert pipeline.dropped == 0


def test_metrics(collector: Collector, start: Start) -> None:
    """Metrics are sent at their interval, with OpenTelemetry's names and units, and once more at the end."""
    pipeline = start(OTEL_METRIC_EXPORT_INTERVAL="100")
    collector.wait_for(lambda: len(collector.metrics()) >= 2 * len(READINGS))
    pipeline.close(PATIENCE_S)
    requests, body, in_flight, run = collector.metrics()[-len(READINGS) :]
    assert (requests.name, requests.sum.data_points[0].as_double) == ("azmlinfsrv.requests", 3)
    assert requests.sum.is_monotonic and attributes(requests.sum.data_points[0]) == {"route": "/score"}
    assert (body.name, body.unit) == ("azmlinfsrv.body", "By")
    assert in_flight.gauge.data_points[0].as_double == 2
    point = run.histogram.data_points[0]
    assert (run.name, run.unit, point.count, point.sum) == ("azmlinfsrv.run", "s", 6, 1.5)
    assert (list(point.bucket_counts), list(point.explicit_bounds)) == ([1, 2, 3], [0.1, 0.5])
    assert not point.HasField("min") and not point.HasField("max")


@pytest.mark.parametrize("text", ["soon", "0", "-1", "1.5", "60 s"])
def test_an_interval_that_is_no_number_is_told(text: str, caplog: pytest.LogCaptureFixture) -> None:
    """OTEL_METRIC_EXPORT_INTERVAL is ignored with a warning, where it is no number of milliseconds."""
    Otlp(SERVICE, {"OTEL_METRIC_EXPORT_INTERVAL": text})
    assert "OTEL_METRIC_EXPORT_INTERVAL is no number of milliseconds: 60000 is used." in caplog.text


def test_headers_and_names_of_the_environment(collector: Collector, start: Start) -> None:
    """OTEL_EXPORTER_OTLP_HEADERS and OTEL_RESOURCE_ATTRIBUTES are honoured; the latter win over our own."""
    pipeline = start(
        OTEL_EXPORTER_OTLP_HEADERS="x-key=abc", OTEL_RESOURCE_ATTRIBUTES="service.name=theirs,deployment.environment=t"
    )
    send(pipeline, request(body=None))
    assert collector.headers[0]["x-key"] == "abc"
    (resource,) = collector.resources()
    assert (resource["service.name"], resource["deployment.environment"]) == ("theirs", "t")


def test_signals_that_are_left_out(collector: Collector, start: Start) -> None:
    """OTEL_LOGS_EXPORTER=none sends no logs; that is no drop."""
    pipeline = start(OTEL_LOGS_EXPORTER="none", OTEL_METRICS_EXPORTER="none")
    send(pipeline, request(), printed())
    pipeline.close(PATIENCE_S)
    assert {signal for signal, _ in collector.exports} == {"traces"}
    assert pipeline.dropped == 0


@pytest.mark.parametrize("name", [GRPC, HTTP])
def test_a_collector_that_refuses(start: Start, name: str, caplog: pytest.LogCaptureFixture) -> None:
    """Where nothing listens, what the exporter gives up is counted, and the log says so once."""
    with refusing_url() as url, caplog.at_level(logging.DEBUG):
        pipeline = start(
            OTEL_EXPORTER_OTLP_ENDPOINT=url, OTEL_EXPORTER_OTLP_PROTOCOL=name, OTEL_METRICS_EXPORTER="none"
        )
        send(pipeline, *[printed() for _ in range(10)])
    assert (pipeline.sent, pipeline.dropped) == (0, 10)
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING] == [
        "OTLP: telemetry is not accepted: an export failed"
    ]


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, HTTP),
        ({"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, GRPC),
        ({"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc", "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "http/protobuf"}, HTTP),
        ({"OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "grpc"}, GRPC),
        ({"OTEL_EXPORTER_OTLP_LOGS_PROTOCOL": "grpc"}, HTTP),
    ],
)
def test_protocols(environ: dict[str, str], expected: str) -> None:
    """A signal's own variable wins over the general one; the default is the specification's."""
    assert protocol(environ, "traces") == expected


@pytest.mark.parametrize(
    ("environ", "wanted"),
    [
        ({}, True),
        ({"OTEL_TRACES_EXPORTER": "otlp"}, True),
        ({"OTEL_TRACES_EXPORTER": "console, OTLP"}, True),
        ({"OTEL_TRACES_EXPORTER": "none"}, False),
        ({"OTEL_LOGS_EXPORTER": "none"}, True),
        ({"OTEL_SDK_DISABLED": "true"}, False),
    ],
)
def test_wanted_signals(environ: dict[str, str], wanted: bool) -> None:
    """A signal is sent unless its variable names other exporters, or the SDK is disabled."""
    assert is_wanted(environ, "traces") is wanted
