"""OTLP: what a real collector gets from a server that was really started."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.conftest import StartServer
from tests.telemetry.collector import Collector, attributes, grpc_collector, http_collector
from tests.telemetry.ingestion import Ingestion, refusing_url

pytestmark = [pytest.mark.long, pytest.mark.process]

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
HEADERS = {"x-request-id": "request-1", "traceparent": f"00-{TRACE}-{PARENT}-01", "tracestate": "a=b"}
PROTOCOLS = {"grpc": contextmanager(grpc_collector), "http/protobuf": contextmanager(http_collector)}


@pytest.fixture(params=list(PROTOCOLS))
def collecting(request: pytest.FixtureRequest) -> Iterator[tuple[Collector, dict[str, str]]]:
    """A collector, over each of the protocols, and the environment of a server that sends to it."""
    with PROTOCOLS[request.param]() as (collector, url):
        yield (
            collector,
            {
                "AZMLINFSRV_OTLP_ENABLED": "true",
                "OTEL_EXPORTER_OTLP_ENDPOINT": url,
                "OTEL_EXPORTER_OTLP_PROTOCOL": request.param,
                "OTEL_SERVICE_NAME": "the service",
            },
        )


def ask(url: str, do: str) -> httpx.Response:
    """Return the answer of `told.py`."""
    content = json.dumps({"do": do})
    return httpx.post(f"{url}/score", content=content, headers=HEADERS, timeout=20, trust_env=False)


def test_spans_and_logs(server: StartServer, scripts: Path, collecting: tuple[Collector, dict[str, str]]) -> None:
    """The request, the script's spans, printed and logged lines and failures arrive, all within the caller's trace."""
    collector, env = collecting
    running = server(scripts / "told.py", env=env)
    for do in ("spans", "echo", "fail"):
        ask(running.url, do)
    assert running.stop() == 0
    spans = {(span.name, span.status.code): span for span in collector.spans()}
    request, failed = spans["POST /score", 0], spans["POST /score", 2]
    assert attributes(failed)["http.response.status_code"] == 500
    assert {span.trace_id.hex() for span in collector.spans()} == {TRACE}
    assert request.parent_span_id.hex() == PARENT
    assert request.end_time_unix_nano > request.start_time_unix_nano
    assert {span.name for span in collector.spans()} == {"POST /score", "outer", "inner", "in thread"}
    requests = {span.span_id for span in collector.spans() if span.name == "POST /score"}
    assert spans["outer", 0].parent_span_id in requests
    assert spans["in thread", 0].parent_span_id == spans["outer", 0].parent_span_id
    assert spans["inner", 0].parent_span_id == spans["outer", 0].span_id
    logs = {record.body.string_value: record for record in collector.logs()}
    assert {"init printed", "init logged", "run printed", "run complained", "run logged this"} < set(logs)
    assert logs["run printed"].trace_id.hex() == TRACE
    assert attributes(logs["user's mistake"])["exception.type"] == "ValueError"
    assert logs["user's mistake"].span_id == failed.span_id
    assert {each["service.name"] for each in collector.resources()} == {"the service"}


def test_workers_that_are_forked_late(
    server: StartServer, scripts: Path, collecting: tuple[Collector, dict[str, str]]
) -> None:
    """With WORKER_PRELOAD the exporters are made after the fork: every worker sends, over either protocol."""
    collector, env = collecting
    running = server(scripts / "told.py", env={**env, "WORKER_PRELOAD": "true", "WORKER_COUNT": "2"})
    for _ in range(20):
        ask(running.url, "echo")
    assert running.stop() == 0
    assert len(collector.spans()) == 20
    assert [record.body.string_value for record in collector.logs()].count("init printed") == 1


def test_metrics(server: StartServer, scripts: Path, collecting: tuple[Collector, dict[str, str]]) -> None:
    """The metrics of all workers are sent by one of them, and say what /metrics says."""
    collector, env = collecting
    env = {**env, "WORKER_COUNT": "3", "OTEL_METRIC_EXPORT_INTERVAL": "200", "OTEL_TRACES_EXPORTER": "none"}
    running = server(scripts / "told.py", env=env)
    for _ in range(30):
        ask(running.url, "echo")

    def scored() -> list[float]:
        """Return the number of requests to /score of each export that has one."""
        points = (
            point
            for metric in collector.metrics()
            if metric.name == "azmlinfsrv.requests"
            for point in metric.sum.data_points
        )
        return [point.as_double for point in points if attributes(point)["route"] == "/score"]

    collector.wait_for(lambda: 30 in scored())
    assert max(scored()) == 30
    up = [metric for metric in collector.metrics() if metric.name == "azmlinfsrv.workers_up"]
    assert up[-1].gauge.data_points[0].as_double == 3
    durations = [metric for metric in collector.metrics() if metric.name == "azmlinfsrv.request_duration"]
    assert durations[-1].unit == "s"
    assert running.stop() == 0


def test_both_back_ends(server: StartServer, scripts: Path) -> None:
    """Application Insights and a collector get the same request and the same spans, with the same ids."""
    ingestion = Ingestion()
    try:
        with PROTOCOLS["http/protobuf"]() as (collector, url):
            env = {
                "AZMLINFSRV_OTLP_ENABLED": "true",
                "OTEL_EXPORTER_OTLP_ENDPOINT": url,
                "AML_APP_INSIGHTS_ENABLED": "true",
                "APPLICATIONINSIGHTS_CONNECTION_STRING": ingestion.connection_string,
            }
            running = server(scripts / "told.py", env=env)
            ask(running.url, "spans")
            assert running.stop() == 0
            theirs = {span.span_id.hex() for span in collector.spans()}
    finally:
        ingestion.close()
    ours = {each["data"]["baseData"]["id"] for each in ingestion.envelopes if "id" in each["data"]["baseData"]}
    assert len(ours) == 4
    assert ours == theirs


@pytest.mark.parametrize("protocol", list(PROTOCOLS))
def test_a_collector_that_is_gone(server: StartServer, scripts: Path, protocol: str) -> None:
    """Where nothing listens, requests are served as ever, the console is told once, and a stop is bounded."""
    with refusing_url() as url:
        env = {
            "AZMLINFSRV_OTLP_ENABLED": "true",
            "OTEL_EXPORTER_OTLP_ENDPOINT": url,
            "OTEL_EXPORTER_OTLP_PROTOCOL": protocol,
            "OTEL_EXPORTER_OTLP_TIMEOUT": "1",
        }
        running = server(scripts / "told.py", env=env)
        for _ in range(20):
            assert ask(running.url, "echo").status_code == 200
        running.wait_until(lambda: "telemetry is not accepted" in running.stdout)
        assert running.stop() == 0
    assert running.stdout.count("telemetry is not accepted") == 1
    assert "records of telemetry were dropped" in running.stdout
    assert "grpc" not in running.stderr.lower() and "Traceback" not in running.output
