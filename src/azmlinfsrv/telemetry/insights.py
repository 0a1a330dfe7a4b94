"""Application Insights, by way of azure-monitor-opentelemetry-exporter.

The exporter gives connection, authentication, proxies and the envelopes of spans that the user's code makes. The
server's own records become envelopes here: an OpenTelemetry span and its conversion take 400 µs of the interpreter
that serves requests, a dictionary 15 µs.
"""

from __future__ import annotations

import gzip
import importlib
import logging
import os
from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import urlsplit

import orjson

from azmlinfsrv import codec
from azmlinfsrv.connection_string import TRACK_PATH, Target
from azmlinfsrv.telemetry.envelopes import Envelopes
from azmlinfsrv.telemetry.pipeline import BATCH_LIMIT, Delivery
from azmlinfsrv.telemetry.records import ExceptionRecord, LogLine, PrintedLine, Record, RequestRecord, Service

CONNECT_TIMEOUT_S = 5.0
READ_TIMEOUT_S = 10.0

_RETRIED = frozenset({401, 403, 408, 429, 500, 502, 503, 504})
_QUOTA = frozenset({402, 439})
_QUOTA_WAIT_S = 60.0
_LONGEST_RETRY_AFTER_S = 300.0
_REDIRECTS = frozenset({307, 308})
_MAX_REDIRECTS = 3
# Where the service itself may send its clients on to.
_TRUSTED = tuple(
    f".{name}"
    for name in (
        "monitor.azure.com",
        "services.visualstudio.com",
        "applicationinsights.azure.com",
        "monitor.azure.us",
        "applicationinsights.azure.us",
        "monitor.azure.cn",
        "applicationinsights.azure.cn",
    )
)

# What the exporter would do beside sending what it is given: report on itself, ask for features, and send the
# command line (with a key in it) as a resource.
_SILENCED = (
    "APPLICATIONINSIGHTS_STATSBEAT_DISABLED_ALL",
    "APPLICATIONINSIGHTS_SDKSTATS_DISABLED",
    "APPLICATIONINSIGHTS_CONTROLPLANE_DISABLED",
    "APPLICATIONINSIGHTS_OPENTELEMETRY_RESOURCE_METRIC_DISABLED",
)
_EXPORTER_LOGGER = "azure.monitor.opentelemetry.exporter"


class Insights:
    """The back end of Application Insights; see `pipeline.Backend`.

    Args:
        target: where telemetry goes.
        service: what all telemetry has in common.
        log_response: whether answers' texts are sent.
    """

    name = "Application Insights"
    sink = "appinsights"
    batch_limit = BATCH_LIMIT

    def __init__(self, target: Target, service: Service, log_response: bool) -> None:
        self._target = target
        self._url = target.endpoint + TRACK_PATH
        self._envelopes = Envelopes(target.key, service, log_response)
        self._exporter: Any = None
        self._request: Callable[..., Any] = _unopened
        self._send: Callable[..., Any] = _unopened

    def open(self) -> None:
        """See `pipeline.Backend`."""
        for variable in _SILENCED:
            os.environ[variable] = "true"
        # Its messages hold the envelopes that failed, key included; `Delivery.problem` says what matters.
        logger = logging.getLogger(_EXPORTER_LOGGER)
        logger.propagate = False
        logger.addHandler(logging.NullHandler())
        from azure.core.pipeline.policies import SansIOHTTPPolicy
        from azure.core.rest import HttpRequest
        from azure.monitor.opentelemetry.exporter import AzureMonitorTraceExporter

        self._request = HttpRequest
        self._exporter = AzureMonitorTraceExporter(
            connection_string=self._target.connection_string,
            disable_offline_storage=True,
            timeout=CONNECT_TIMEOUT_S,
            read_timeout=READ_TIMEOUT_S,
            retry_total=0,
            http_logging_policy=SansIOHTTPPolicy(),
            logging_policy=SansIOHTTPPolicy(),
        )
        client = self._exporter.client
        self._send = getattr(client, "send_request", None) or client._send_request  # so named before 1.0.0b50

    def encode(self, record: Record) -> Any:
        """Return JSON, its envelopes joined by commas; a span of the user's code stays what it is."""
        envelopes = self._envelopes
        if isinstance(record, RequestRecord):
            return b",".join([codec.dumps_lossy(each) for each in envelopes.request(record)])
        if isinstance(record, PrintedLine):
            return codec.dumps_lossy(envelopes.printed(record))
        if isinstance(record, LogLine):
            return codec.dumps_lossy(envelopes.log_line(record))
        if isinstance(record, ExceptionRecord):
            return codec.dumps_lossy(envelopes.exception(record))
        return record

    def send(self, batch: Sequence[Any]) -> Delivery:
        """See `pipeline.Backend`."""
        texts = [each for each in batch if isinstance(each, bytes)]
        spans = [each for each in batch if not isinstance(each, bytes)]
        lost = 0
        if spans:
            from opentelemetry.sdk.trace.export import SpanExportResult

            if self._exporter.export(spans) is not SpanExportResult.SUCCESS:
                lost = len(spans)
        if not texts:
            return Delivery((), lost)
        delivery = self._post(texts)
        return delivery._replace(dropped=delivery.dropped + lost)

    def tick(self, now: float) -> None:
        """Do nothing."""

    def close(self) -> None:
        """See `pipeline.Backend`."""
        if self._exporter is not None:
            self._exporter.shutdown()
            self._exporter.client.close()

    def _post(self, texts: Sequence[bytes]) -> Delivery:
        from azure.core.exceptions import AzureError

        content = gzip.compress(b"[" + b",".join(texts) + b"]", compresslevel=1)
        headers = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
        for _ in range(_MAX_REDIRECTS):
            try:
                response = self._send(self._request("POST", self._url, headers=headers, content=content))
            except AzureError as error:
                return Delivery(texts, 0, 1.0, type(error).__name__)
            if response.status_code not in _REDIRECTS or not self._follow(response.headers.get("Location", "")):
                return _delivery(texts, response)
        return Delivery((), len(texts), 1.0, "redirected too often")

    def _follow(self, location: str) -> bool:
        """Go to where the service sends us from now on; returns whether it may be trusted with the telemetry."""
        old, new = urlsplit(self._url), urlsplit(location)
        if new.scheme not in {"https", old.scheme} or not new.hostname:
            return False
        both = old.hostname or "", new.hostname
        if new.netloc != old.netloc and not all(name.endswith(_TRUSTED) for name in both):
            return False
        self._url = f"{new.scheme}://{new.netloc}{TRACK_PATH}"
        return True


def _unopened(*_: Any, **__: Any) -> Any:
    message = "the back end is not open"
    raise RuntimeError(message)


def _delivery(texts: Sequence[bytes], response: Any) -> Delivery:
    """Return what an answer of the endpoint means for each text."""
    status = response.status_code
    if status == 200:
        return Delivery()
    if status == 206:
        return _partial(texts, response)
    problem = f"HTTP status {status}"
    if status in _RETRIED:
        return Delivery(texts, 0, _retry_after_s(response.headers.get("Retry-After", "")), problem)
    return Delivery((), len(texts), _QUOTA_WAIT_S if status in _QUOTA else 1.0, problem)


def _partial(texts: Sequence[bytes], response: Any) -> Delivery:
    """Return the delivery of a batch of which parts were refused; model data counts with its request."""
    owners = [number for number, text in enumerate(texts) for _ in range(_envelope_count(text))]
    retry: set[int] = set()
    refused: set[int] = set()
    for error in response.json().get("errors") or []:
        index = error.get("index")
        if isinstance(index, int) and 0 <= index < len(owners):
            (retry if error.get("statusCode") in _RETRIED else refused).add(owners[index])
    again = [texts[number] for number in sorted(retry)]
    problem = "some records were refused" if retry or refused else ""
    return Delivery(again, len(refused - retry), 1.0 if retry else -1.0, problem)


def _envelope_count(text: bytes) -> int:
    content = orjson.loads(b"[" + text + b"]")
    return len(content)


def _retry_after_s(value: str) -> float:
    return min(float(value), _LONGEST_RETRY_AFTER_S) if value.isdigit() else 1.0


def missing_packages() -> str:
    """Return the package that is missing for this back end, or ""."""
    for name in ("azure.monitor.opentelemetry.exporter", "opentelemetry.sdk"):
        try:
            importlib.import_module(name)
        except ImportError:
            return name
    return ""
