"""The text that Prometheus scrapes, in the older of its two formats or in the newer one.

Sources: https://prometheus.io/docs/instrumenting/exposition_formats/ (version 0.0.4) and
https://prometheus.io/docs/specs/om/open_metrics_spec/ (OpenMetrics, version 1.0.0).
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import accumulate

from azmlinfsrv.messages import Request, Response
from azmlinfsrv.telemetry.board import Key
from azmlinfsrv.telemetry.catalogue import PREFIX, Metric
from azmlinfsrv.telemetry.metrics import WorkerMetrics
from azmlinfsrv.telemetry.readings import Reading, Value, read

TEXT = "text/plain; version=0.0.4; charset=utf-8"
OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"

_ESCAPES = str.maketrans({"\\": r"\\", "\n": r"\n", '"': r"\""})


class Scrape:
    """The handler of ``/metrics``, on the I/O thread of any worker: it answers for all.

    Args:
        metrics: the metrics of the worker that answers.
    """

    def __init__(self, metrics: WorkerMetrics) -> None:
        self._metrics = metrics

    def __call__(self, request: Request) -> Response:
        """Return the values of this moment, in the format that the request accepts."""
        self._metrics.sample()
        return respond(request, read(self._metrics.board))


def respond(request: Request, readings: list[Reading]) -> Response:
    """Return the readings in the format that the request accepts."""
    openmetrics = accepts_openmetrics(request.header(b"accept"))
    text = exposition(readings, openmetrics=openmetrics)
    return Response(200, text.encode(), [("Content-Type", OPENMETRICS if openmetrics else TEXT)])


def accepts_openmetrics(accept: str) -> bool:
    """Return whether an Accept field (RFC 9110, 12.5.1) names OpenMetrics; Prometheus does so, others want text."""
    types = (each.partition(";")[0].strip().lower() for each in accept.split(","))
    return "application/openmetrics-text" in types


def exposition(readings: list[Reading], *, openmetrics: bool = False) -> str:
    """Return the readings as text.

    Args:
        readings: what to write.
        openmetrics: whether to write OpenMetrics 1.0.0; else the text format 0.0.4.
    """
    lines: list[str] = []
    for reading in readings:
        lines += _lines(reading, openmetrics=openmetrics)
    if openmetrics:
        lines.append("# EOF")
    return "\n".join(lines) + "\n"


def _lines(reading: Reading, *, openmetrics: bool) -> Iterator[str]:
    metric = reading.metric
    name = PREFIX + metric.name
    family = name.removesuffix("_total") if openmetrics else name
    yield f"# HELP {family} {metric.help}"
    yield f"# TYPE {family} {metric.kind}"
    if openmetrics and metric.unit:
        yield f"# UNIT {family} {metric.unit}"
    for key, value in reading.values:
        labels = _labels(metric.labels, key)
        if isinstance(value, float):
            yield f"{name}{{{labels}}} {_number(value)}" if labels else f"{name} {_number(value)}"
        else:
            yield from _histogram(name, metric, labels, value)


def _histogram(name: str, metric: Metric, labels: str, cells: Value) -> Iterator[str]:
    assert not isinstance(cells, float)  # noqa: S101 - says the type
    counts = list(accumulate(cells[1:]))
    before = f"{labels}," if labels else ""
    for bound, count in zip([*map(str, metric.bounds), "+Inf"], counts, strict=True):
        yield f'{name}_bucket{{{before}le="{bound}"}} {_number(count)}'
    after = f"{{{labels}}}" if labels else ""
    yield f"{name}_count{after} {_number(counts[-1])}"
    yield f"{name}_sum{after} {_number(cells[0])}"


def _labels(names: tuple[str, ...], values: Key) -> str:
    return ",".join(f'{name}="{value.translate(_ESCAPES)}"' for name, value in zip(names, values, strict=True))


def _number(value: float) -> str:
    return str(int(value)) if value.is_integer() else repr(value)
