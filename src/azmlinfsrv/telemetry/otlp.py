"""OTLP, to any collector, by OpenTelemetry's own exporters.

Where and how is said by the standard variables: OTEL_EXPORTER_OTLP_ENDPOINT, …_PROTOCOL, …_HEADERS, …_TIMEOUT and
those of single signals; OTEL_TRACES_EXPORTER and the like with the value ``none`` leave a signal out.
"""

from __future__ import annotations

import importlib
import logging
import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from azmlinfsrv.telemetry.pipeline import Delivery
from azmlinfsrv.telemetry.records import ExceptionRecord, LogLine, PrintedLine, Record, RequestRecord, Service

GRPC, HTTP = "grpc", "http/protobuf"
TRACES, LOGS, METRICS = "traces", "logs", "metrics"

logger = logging.getLogger("azmlinfsrv")

# One export of so many spans keeps the interpreter for about 10 ms.
_BATCH_LIMIT = 64
_MODULES = {GRPC: "opentelemetry.exporter.otlp.proto.grpc", HTTP: "opentelemetry.exporter.otlp.proto.http"}
_EXPORTERS = {
    TRACES: ("trace_exporter", "OTLPSpanExporter"),
    LOGS: ("_log_exporter", "OTLPLogExporter"),
    METRICS: ("metric_exporter", "OTLPMetricExporter"),
}
_DEFAULT_INTERVAL_MS = 60_000
# Their messages come with every failed export; `Delivery.problem` says it once.
_LOGGERS = ("opentelemetry.exporter", "opentelemetry.sdk")

Readings = Callable[[], Iterable[Any]]


class Otlp:
    """The back end of OTLP; see `pipeline.Backend`.

    Args:
        service: what all telemetry has in common.
        environ: the standard variables.
        readings: returns the metrics of this moment (see `otlp_records.Reading`), or None.
    """

    name = "OTLP"
    sink = "otlp"
    batch_limit = _BATCH_LIMIT

    def __init__(
        self,
        service: Service,
        environ: Mapping[str, str],
        readings: Readings | None = None,
    ) -> None:
        self._service = service
        self._environ = environ
        self._readings = readings
        self._exporters: dict[str, Any] = {}
        self._interval_s = _metric_interval_ms(environ) / 1000
        self._metrics_due = 0.0
        self._started_ns = 0
        self._make: Any = None

    def open(self) -> None:
        """See `pipeline.Backend`."""
        # gRPC's own messages go to the descriptor of stderr, past logging.
        os.environ.setdefault("GRPC_VERBOSITY", "NONE")
        for name in _LOGGERS:
            logger = logging.getLogger(name)
            logger.propagate = False
            logger.addHandler(logging.NullHandler())
        from azmlinfsrv.telemetry.otlp_records import Maker

        self._make = Maker(self._service)
        for signal in (TRACES, LOGS, METRICS):
            if is_wanted(self._environ, signal):
                module, name = _EXPORTERS[signal]
                package = _MODULES[protocol(self._environ, signal)]
                self._exporters[signal] = getattr(importlib.import_module(f"{package}.{module}"), name)()
        self._started_ns = time.time_ns()
        self._metrics_due = time.monotonic() + self._interval_s

    def encode(self, record: Record) -> Any:
        """Return spans and log records of OpenTelemetry, each with the signal to which it belongs."""
        make = self._make
        if isinstance(record, RequestRecord):
            found = [(TRACES, make.request(record))]
            if record.body is not None and record.run_ms is not None:
                found.append((LOGS, make.model_data(record)))
        elif isinstance(record, PrintedLine):
            found = [(LOGS, make.printed(record))]
        elif isinstance(record, LogLine):
            found = [(LOGS, make.log_line(record))]
        elif isinstance(record, ExceptionRecord):
            found = [(LOGS, make.exception(record))]
        else:
            found = [(TRACES, record)]
        return [each for each in found if each[0] in self._exporters] or None

    def send(self, batch: Sequence[Any]) -> Delivery:
        """Send spans and log records; the exporters repeat what failed within their own timeouts."""
        lost = 0
        for signal in (TRACES, LOGS):
            items = [item for found in batch for kind, item in found if kind == signal]
            if items and not self._export(signal, items):
                lost += sum(1 for found in batch if found[0][0] == signal)
        self.tick(time.monotonic())
        return Delivery((), lost, 1.0, "an export failed") if lost else Delivery()

    def tick(self, now: float) -> None:
        """Send the metrics, if that is due."""
        if METRICS in self._exporters and self._readings is not None and now >= self._metrics_due:
            self._metrics_due = now + self._interval_s
            self.send_metrics()

    def send_metrics(self) -> None:
        """Send the metrics of this moment, if there are any."""
        readings = list(self._readings()) if METRICS in self._exporters and self._readings is not None else []
        if readings:
            self._export(METRICS, self._make.metrics_data(readings, self._started_ns))

    def close(self) -> None:
        """Send the metrics for the last time, and give the connections up."""
        self.send_metrics()
        for exporter in self._exporters.values():
            exporter.shutdown()

    def _export(self, signal: str, items: Any) -> bool:
        result: Any = self._exporters[signal].export(items)
        return bool(result.name == "SUCCESS")


def _metric_interval_ms(environ: Mapping[str, str]) -> int:
    """Return how often metrics are sent; what is no number is told and ignored, as OpenTelemetry wants it."""
    text = environ.get("OTEL_METRIC_EXPORT_INTERVAL") or str(_DEFAULT_INTERVAL_MS)
    if text.strip().isdecimal() and int(text):
        return int(text)
    logger.warning("OTEL_METRIC_EXPORT_INTERVAL is no number of milliseconds: %d is used.", _DEFAULT_INTERVAL_MS)
    return _DEFAULT_INTERVAL_MS


def is_wanted(environ: Mapping[str, str], signal: str) -> bool:
    """Return whether a signal is to be sent: unless OTEL_…_EXPORTER names others, or OTEL_SDK_DISABLED is true."""
    chosen = environ.get(f"OTEL_{signal.upper()}_EXPORTER", "") or "otlp"
    disabled = environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true"
    return not disabled and "otlp" in [each.strip().lower() for each in chosen.split(",")]


def protocol(environ: Mapping[str, str], signal: str) -> str:
    """Return the protocol of a signal: ``grpc``, or ``http/protobuf`` unless that is chosen.

    Source: OpenTelemetry Protocol Exporter, "Specify Protocol".
    """
    general = environ.get("OTEL_EXPORTER_OTLP_PROTOCOL", "")
    chosen = environ.get(f"OTEL_EXPORTER_OTLP_{signal.upper()}_PROTOCOL", "") or general
    return GRPC if chosen.strip().lower() == GRPC else HTTP


def missing_packages() -> str:
    """Return the package that is missing for this back end, or ""."""
    for name in (*_MODULES.values(), "opentelemetry.sdk"):
        try:
            importlib.import_module(name)
        except ImportError:
            return name
    return ""
