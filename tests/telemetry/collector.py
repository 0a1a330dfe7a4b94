"""A collector of OpenTelemetry on the loopback interface: the real services of opentelemetry-proto, gRPC and HTTP."""

from __future__ import annotations

import gzip
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import grpc
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2, logs_service_pb2_grpc
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2, metrics_service_pb2_grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc

PATIENCE_S = 30.0

_PATHS: dict[str, tuple[Any, Any, str]] = {
    "/v1/traces": (
        trace_service_pb2.ExportTraceServiceRequest,
        trace_service_pb2.ExportTraceServiceResponse,
        "traces",
    ),
    "/v1/logs": (logs_service_pb2.ExportLogsServiceRequest, logs_service_pb2.ExportLogsServiceResponse, "logs"),
    "/v1/metrics": (
        metrics_service_pb2.ExportMetricsServiceRequest,
        metrics_service_pb2.ExportMetricsServiceResponse,
        "metrics",
    ),
}


class Collector:
    """What has arrived.

    Attributes:
        exports: each export, as the signal and its request message.
        headers: the header fields of each export, by their names in lower case.
    """

    def __init__(self) -> None:
        self.exports: list[tuple[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self._arrived = threading.Condition()

    def take(self, signal: str, message: Any, headers: dict[str, str]) -> None:
        """Keep an export."""
        with self._arrived:
            self.exports.append((signal, message))
            self.headers.append(headers)
            self._arrived.notify_all()

    def wait_for(self, condition: Callable[[], object], within_s: float = PATIENCE_S) -> None:
        """Wait until the condition holds; looked at whenever something arrives."""
        with self._arrived:
            held = self._arrived.wait_for(condition, within_s)
        assert held, f"the condition did not hold; arrived: {self.exports}"

    def spans(self) -> list[Any]:
        """Return the spans that have arrived."""
        return [
            span
            for signal, message in list(self.exports)
            if signal == "traces"
            for resource in message.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]

    def logs(self) -> list[Any]:
        """Return the log records that have arrived."""
        return [
            record
            for signal, message in list(self.exports)
            if signal == "logs"
            for resource in message.resource_logs
            for scope in resource.scope_logs
            for record in scope.log_records
        ]

    def metrics(self) -> list[Any]:
        """Return the metrics that have arrived."""
        return [
            metric
            for signal, message in list(self.exports)
            if signal == "metrics"
            for resource in message.resource_metrics
            for scope in resource.scope_metrics
            for metric in scope.metrics
        ]

    def resources(self) -> list[dict[str, Any]]:
        """Return the attributes of the resource of each export."""
        found = []
        for signal, message in list(self.exports):
            field = {"traces": "resource_spans", "logs": "resource_logs", "metrics": "resource_metrics"}[signal]
            found += [attributes(each.resource) for each in getattr(message, field)]
        return found


def attributes(item: Any) -> dict[str, Any]:
    """Return the attributes of a span, a log record, a data point or a resource."""
    return {each.key: _value(each.value) for each in item.attributes}


def _value(value: Any) -> Any:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [_value(each) for each in value.array_value.values]
    return getattr(value, kind) if kind else None


def grpc_collector() -> Iterator[tuple[Collector, str]]:
    """Serve over gRPC; yields the collector and its address."""
    collector = Collector()
    server = grpc.server(ThreadPoolExecutor(4))
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(  # type: ignore[no-untyped-call]
        _servicer(collector, "traces", trace_service_pb2.ExportTraceServiceResponse), server
    )
    logs_service_pb2_grpc.add_LogsServiceServicer_to_server(  # type: ignore[no-untyped-call]
        _servicer(collector, "logs", logs_service_pb2.ExportLogsServiceResponse), server
    )
    metrics_service_pb2_grpc.add_MetricsServiceServicer_to_server(  # type: ignore[no-untyped-call]
        _servicer(collector, "metrics", metrics_service_pb2.ExportMetricsServiceResponse), server
    )
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield collector, f"http://127.0.0.1:{port}"
    finally:
        server.stop(None).wait(PATIENCE_S)


def _servicer(collector: Collector, signal: str, response: Any) -> Any:
    class Servicer:
        def Export(self, request: Any, context: Any) -> Any:  # noqa: N802 - the name is the service's
            fields = {name: value for name, value in context.invocation_metadata() if isinstance(value, str)}
            collector.take(signal, request, fields)
            return response()

    return Servicer()


def http_collector() -> Iterator[tuple[Collector, str]]:
    """Serve over HTTP; yields the collector and its address."""
    collector = Collector()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.headers.get("Content-Encoding") == "gzip":
                body = gzip.decompress(body)
            request, response, signal = _PATHS[self.path]
            message = request()
            message.ParseFromString(body)
            collector.take(signal, message, {name.lower(): value for name, value in self.headers.items()})
            content = response().SerializeToString()
            self.send_response(200)
            self.send_header("Content-Type", "application/x-protobuf")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.block_on_close = False
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield collector, f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join(PATIENCE_S)
