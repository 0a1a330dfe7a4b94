"""What `/metrics` says, as Prometheus' own parsers read it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

if TYPE_CHECKING:
    from prometheus_client import Metric

PREFIX = "azmlinfsrv_"


class Sample(NamedTuple):
    """One line of an exposition.

    Attributes:
        name: name of the sample, without the prefix of all.
        labels: names and values of its labels.
        value: its value.
    """

    name: str
    labels: dict[str, str]
    value: float


class Scraped:
    """One answer of `/metrics`.

    Args:
        text: its body.
        openmetrics: which of the two formats it has.

    Attributes:
        families: what is between two ``# TYPE`` lines, as the parser groups it.
        samples: its lines.
    """

    def __init__(self, text: str, *, openmetrics: bool = False) -> None:
        families: Iterable[Metric] = parse_openmetrics(text) if openmetrics else parse_text(text)  # type: ignore[no-untyped-call]
        self.families = list(families)
        self.samples = [
            Sample(sample.name.removeprefix(PREFIX), sample.labels, sample.value)
            for family in self.families
            for sample in family.samples
        ]
        assert all(sample.name.startswith(PREFIX) for family in self.families for sample in family.samples)

    def values(self, name: str, **labels: str) -> list[float]:
        """Return the values of the samples of this name that have these labels, among others."""
        return [
            sample.value for sample in self.samples if sample.name == name and labels.items() <= sample.labels.items()
        ]

    def total(self, name: str, **labels: str) -> float:
        """Return the sum of those values."""
        return sum(self.values(name, **labels))

    def requests(self) -> dict[tuple[str, str, str], float]:
        """Return the number of requests by route, method and status."""
        return {
            (sample.labels["route"], sample.labels["method"], sample.labels["status"]): sample.value
            for sample in self.samples
            if sample.name == "requests_total"
        }

    def counters(self) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
        """Return everything that must never go down: counters and the parts of histograms."""
        kinds = {"counter", "histogram"}
        return {
            (sample.name, tuple(sorted(sample.labels.items()))): sample.value
            for family in self.families
            if family.type in kinds
            for sample in family.samples
        }
