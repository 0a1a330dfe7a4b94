"""Spans of OpenTelemetry that the user's code makes: they join the trace of the request that it works on.

The request's own span is not made while the request runs: its ids follow from the request (`trace_context`), so what
is current in the scoring thread is one object that asks for them when a child is started.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from opentelemetry import context, trace
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor, TracerProvider
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, TraceState

from azmlinfsrv.telemetry.pipeline import Pipeline
from azmlinfsrv.telemetry.records import Origin
from azmlinfsrv.telemetry.trace_context import span_ids

CurrentOrigin = Callable[[], Origin | None]


class RequestSpan(NonRecordingSpan):
    """Stands for the span of the request that the calling code works on.

    Args:
        origin: tells which request that is.
    """

    def __init__(self, origin: CurrentOrigin) -> None:
        super().__init__(trace.INVALID_SPAN_CONTEXT)
        self._origin = origin

    def get_span_context(self) -> SpanContext:
        """Return the ids of the request's span, or invalid ones outside of requests."""
        origin = self._origin()
        return trace.INVALID_SPAN_CONTEXT if origin is None else span_context(origin)


def span_context(origin: Origin) -> SpanContext:
    """Return the context of a request's span."""
    ids = span_ids(origin)
    flags = TraceFlags(TraceFlags.SAMPLED if ids.sampled else TraceFlags.DEFAULT)
    state = TraceState.from_header([origin.tracestate.decode("latin-1")]) if origin.tracestate else None
    return SpanContext(
        int(ids.trace_id, 16), int(ids.span_id, 16), is_remote=False, trace_flags=flags, trace_state=state
    )


class Forwarder(SpanProcessor):
    """Puts the spans that end into the pipelines."""

    def __init__(self, pipelines: Sequence[Pipeline]) -> None:
        self._pipelines = pipelines

    def on_start(self, span: Span, parent_context: context.Context | None = None) -> None:
        """Do nothing."""

    def on_end(self, span: ReadableSpan) -> None:
        """Have a span sent."""
        for pipeline in self._pipelines:
            if pipeline.has_room():
                pipeline.put(span)

    def shutdown(self) -> None:
        """Do nothing: the pipelines are closed by whoever made them."""

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        """Return True: what has been put will be sent."""
        return True


def install(pipelines: Sequence[Pipeline], service_name: str, origin: CurrentOrigin) -> Callable[[], Any]:
    """Make `opentelemetry.trace` send the user's spans to the pipelines, for the whole process.

    Args:
        pipelines: where the spans go.
        service_name: name of the service, unless OTEL_SERVICE_NAME or OTEL_RESOURCE_ATTRIBUTES gives one.
        origin: tells which request the calling code works on.

    Returns:
        A function that makes the request's span current in the calling thread or task.
    """
    provider = TracerProvider(resource=resource(service_name), shutdown_on_exit=False)
    provider.add_span_processor(Forwarder(pipelines))
    trace.set_tracer_provider(provider)
    current = trace.set_span_in_context(RequestSpan(origin), context.Context())
    attach = context.attach

    def enter() -> Any:
        return attach(current)

    return enter


def resource(service_name: str, more: Mapping[str, str] | None = None) -> Resource:
    """Return what describes this process; OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES win."""
    return Resource.create({"service.name": service_name, **(more or {})}).merge(OTELResourceDetector().detect())
