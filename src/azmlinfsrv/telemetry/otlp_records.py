"""Records as spans, log records and metrics of OpenTelemetry.

Names follow the semantic conventions for HTTP server spans, exceptions and code; what they have no name for begins
with ``azmlinfsrv.``.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import urlsplit

from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.context import Context
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    Gauge,
    Histogram,
    HistogramDataPoint,
    Metric,
    MetricsData,
    NumberDataPoint,
    ResourceMetrics,
    ScopeMetrics,
    Sum,
)
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import (
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    set_span_in_context,
)

from azmlinfsrv._version import __version__
from azmlinfsrv.telemetry import spans
from azmlinfsrv.telemetry.envelopes import MODEL_DATA, decode, response_value
from azmlinfsrv.telemetry.records import (
    VALUE_LIMIT,
    ExceptionRecord,
    Failure,
    LogLine,
    Origin,
    PrintedLine,
    RequestRecord,
    Service,
)
from azmlinfsrv.telemetry.trace_context import parse_traceparent

if TYPE_CHECKING:
    from opentelemetry.sdk._logs import ReadableLogRecord

_SCOPE = InstrumentationScope("azmlinfsrv", __version__)
_NO_CONTEXT = Context()
_SEVERITIES = (
    (logging.CRITICAL, SeverityNumber.FATAL),
    (logging.ERROR, SeverityNumber.ERROR),
    (logging.WARNING, SeverityNumber.WARN),
    (logging.INFO, SeverityNumber.INFO),
)

Attributes = dict[str, Any]


class Described(Protocol):
    """What a metric is: its name in Prometheus' form, its type, the names of its labels, the bounds of its buckets."""

    name: str
    kind: str
    labels: tuple[str, ...]
    help: str
    unit: str
    bounds: tuple[float, ...]


class Reading(Protocol):
    """The values of a metric: for each set of labels a number, or the sum and the buckets of a histogram."""

    metric: Described
    values: Sequence[tuple[tuple[str, ...], float | Sequence[float]]]


class Maker:
    """Makes what the exporters take; used on one thread.

    Args:
        service: what all telemetry has in common.
    """

    def __init__(self, service: Service) -> None:
        from opentelemetry.sdk._logs import ReadableLogRecord  # changes the filters of warnings

        self._readable = ReadableLogRecord
        self._models = list(service.models)
        described = {"service.version": service.version, "service.instance.id": service.instance}
        self._resource = spans.resource(service.name, described)
        self._workspace = service.workspace

    def request(self, record: RequestRecord) -> ReadableSpan:
        """Return the server span of a request."""
        context, parent = spans.span_context(record.origin), None
        caller = parse_traceparent(record.origin.traceparent)
        if caller is not None:
            flags = TraceFlags(TraceFlags.SAMPLED if caller[2] else TraceFlags.DEFAULT)
            parent = SpanContext(int(caller[0], 16), int(caller[1], 16), is_remote=True, trace_flags=flags)
        failed = record.status >= 500 or bool(record.outcome)
        return ReadableSpan(
            name=f"{record.method} {record.route}".rstrip(),
            context=context,
            parent=parent,
            resource=self._resource,
            attributes=_request_attributes(record, failed=failed),
            kind=SpanKind.SERVER,
            instrumentation_scope=_SCOPE,
            status=Status(StatusCode.ERROR if failed else StatusCode.UNSET, record.outcome or None),
            start_time=record.start_ns,
            end_time=record.start_ns + record.duration_ns,
        )

    def model_data(self, record: RequestRecord) -> ReadableLogRecord:
        """Return the log record of what ``run()`` got and returned."""
        body = record.body or b""
        attributes = {
            "azmlinfsrv.workspace": self._workspace,
            "azmlinfsrv.models": self._models,
            "azmlinfsrv.input": decode(body, len(body) >= VALUE_LIMIT) or "",
            "azmlinfsrv.prediction": response_value(record),
        }
        when = record.start_ns + record.duration_ns
        return self._log(when, logging.INFO, MODEL_DATA, attributes, record.origin)

    def printed(self, record: PrintedLine) -> ReadableLogRecord:
        """Return the log record of a printed line."""
        level = logging.ERROR if record.stream == "stderr" else logging.INFO
        attributes = {"log.iostream": record.stream}
        return self._log(record.time_ns, level, record.text, attributes, record.origin, record.request_id)

    def log_line(self, record: LogLine) -> ReadableLogRecord:
        """Return the log record of a record of the script's logging."""
        file, line, function = record.place
        attributes = {"code.file.path": file, "code.function.name": function, "code.line.number": line}
        if record.failure is not None:
            attributes |= _exception_attributes(record.failure)
        return self._log(record.time_ns, record.level, record.message, attributes, record.origin, scope=record.logger)

    def exception(self, record: ExceptionRecord) -> ReadableLogRecord:
        """Return the log record of an exception of the user's code."""
        attributes = _exception_attributes(record.failure)
        message = record.failure.message or record.failure.type_name
        return self._log(record.time_ns, logging.ERROR, message, attributes, record.origin)

    def metrics_data(self, readings: Iterable[Reading], started_ns: int) -> MetricsData:
        """Return metrics, cumulative since a time."""
        now_ns = time.time_ns()
        metrics = [_metric(reading, started_ns, now_ns) for reading in readings]
        scope = ScopeMetrics(_SCOPE, metrics, "")
        return MetricsData([ResourceMetrics(self._resource, [scope], "")])

    def _log(
        self,
        time_ns: int,
        level: int,
        body: str,
        attributes: Attributes,
        origin: Origin | None,
        request_id: str = "",
        scope: str = "",
    ) -> ReadableLogRecord:
        context = _NO_CONTEXT
        if origin is not None:
            context = set_span_in_context(NonRecordingSpan(spans.span_context(origin)), _NO_CONTEXT)
            attributes["azmlinfsrv.client_request_id"] = origin.client_id
            request_id = origin.request_id
        if request_id:
            attributes["azmlinfsrv.request_id"] = request_id
        record = LogRecord(
            timestamp=time_ns,
            observed_timestamp=time_ns,
            context=context,
            severity_text=logging.getLevelName(level),
            severity_number=next((number for limit, number in _SEVERITIES if level >= limit), SeverityNumber.DEBUG),
            body=body,
            attributes=attributes,
        )
        return self._readable(record, self._resource, InstrumentationScope(scope) if scope else _SCOPE)


def _request_attributes(record: RequestRecord, *, failed: bool) -> Attributes:
    target = record.target.decode("latin-1")
    host = urlsplit(f"//{record.host}")
    attributes: Attributes = {
        "http.request.method": record.method,
        "url.path": record.path,
        "url.scheme": record.scheme,
        "http.response.status_code": record.status,
        "http.response.body.size": record.sent_bytes,
        "network.protocol.version": record.version,
        "client.address": record.client,
        "azmlinfsrv.request_id": record.origin.request_id,
    }
    optional = {
        "http.route": record.route,
        "url.query": target.partition("?")[2],
        "server.address": host.hostname,
        "user_agent.original": record.user_agent.decode("latin-1"),
        "azmlinfsrv.client_request_id": record.origin.client_id,
        "azmlinfsrv.run_ms": record.run_ms,
        "error.type": (record.outcome or str(record.status)) if failed else "",
    }
    attributes.update((name, value) for name, value in optional.items() if value)
    return attributes


def _exception_attributes(failure: Failure) -> Attributes:
    return {
        "exception.type": failure.type_name,
        "exception.message": failure.message,
        "exception.stacktrace": failure.stack,
    }


def _metric(reading: Reading, started_ns: int, now_ns: int) -> Metric:
    """Return a metric by the rules of "Prometheus and OpenMetrics Compatibility": without ``_total`` and the unit."""
    metric = reading.metric
    unit = {"seconds": "s", "bytes": "By"}.get(metric.unit, "")
    name = metric.name.removesuffix("_total")
    name = "azmlinfsrv." + (name.removesuffix(f"_{metric.unit}") if metric.unit else name)
    labels: list[tuple[Mapping[str, str], Any]] = [
        (dict(zip(metric.labels, key, strict=True)), value) for key, value in reading.values
    ]
    cumulative = AggregationTemporality.CUMULATIVE
    if metric.kind == "histogram":
        histograms = [_histogram(each, cells, metric.bounds, started_ns, now_ns) for each, cells in labels]
        return Metric(name, metric.help, unit, Histogram(histograms, cumulative))
    numbers = [NumberDataPoint(each, started_ns, now_ns, value) for each, value in labels]
    data = Sum(numbers, cumulative, is_monotonic=True) if metric.kind == "counter" else Gauge(numbers)
    return Metric(name, metric.help, unit, data)


def _histogram(
    labels: Mapping[str, str], cells: Sequence[float], bounds: Sequence[float], started_ns: int, now_ns: int
) -> HistogramDataPoint:
    buckets = [int(number) for number in cells[1:]]
    unknown: Any = None  # leaves minimum and maximum out
    return HistogramDataPoint(
        dict(labels), started_ns, now_ns, sum(buckets), cells[0], buckets, list(bounds), unknown, unknown
    )
