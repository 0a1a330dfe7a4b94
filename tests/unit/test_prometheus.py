"""The text of `/metrics`: Prometheus' own parsers read it, in both formats."""

from __future__ import annotations

import pytest

from azmlinfsrv._version import __version__
from azmlinfsrv.telemetry.board import Board
from azmlinfsrv.telemetry.catalogue import METRICS, PREFIX
from azmlinfsrv.telemetry.metrics import WorkerMetrics
from azmlinfsrv.telemetry.prometheus import OPENMETRICS, TEXT, Scrape, accepts_openmetrics, exposition
from azmlinfsrv.telemetry.readings import Reading, read
from tests.scraping import Scraped
from tests.unit.http_fakes import headers_of, request

# What Prometheus 2.42 and 3.5 send.
PROMETHEUS_2 = (
    "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,"
    "text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
)
PROMETHEUS_3 = (
    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,"
    "text/plain;version=1.0.0;escaping=allow-utf-8;q=0.3,*/*;q=0.2"
)
PLAIN = ["", "*/*", "text/plain", "text/plain;version=0.0.4", "application/json", "application/openmetrics-texts"]


@pytest.fixture
def metrics() -> WorkerMetrics:
    """The metrics of a worker that has counted something of everything."""
    board = Board(2, 1)
    made = WorkerMetrics(board, board.take())
    made.serve({"/score"}, 1, 0.5, max_batch_size=8)
    scored = request("POST", "/score", b"{}")
    scored.taken, scored.run_s = 1.0, 0.001
    made.submitted(1)
    made.finished(scored, 200, 2)
    made.rejected(400)
    made.dropped("otlp")
    return made


@pytest.mark.parametrize("accept", [PROMETHEUS_2, PROMETHEUS_3, "Application/OpenMetrics-Text"])
def test_openmetrics_for_those_who_name_it(metrics: WorkerMetrics, accept: str) -> None:
    """A client that names OpenMetrics gets it, under its content type, and complete."""
    response = Scrape(metrics)(request("GET", "/metrics", Accept=accept))
    assert (response.status, headers_of(response)["content-type"]) == (200, OPENMETRICS)
    assert response.body.endswith(b"\n# EOF\n")
    assert Scraped(response.body.decode(), openmetrics=True).requests() == {("/score", "POST", "200"): 1}


@pytest.mark.parametrize("accept", PLAIN)
def test_text_for_everybody_else(metrics: WorkerMetrics, accept: str) -> None:
    """A client that does not gets text, which a person can read as well."""
    assert not accepts_openmetrics(accept)
    response = Scrape(metrics)(request("GET", "/metrics", Accept=accept))
    assert (response.status, headers_of(response)["content-type"]) == (200, TEXT)
    assert Scraped(response.body.decode()).requests() == {("/score", "POST", "200"): 1}


def test_both_formats_say_the_same(metrics: WorkerMetrics) -> None:
    """Samples, values, types and help are the same; a counter's family has no suffix in OpenMetrics."""
    readings = read(metrics.board)
    text = Scraped(exposition(readings))
    openmetrics = Scraped(exposition(readings, openmetrics=True), openmetrics=True)
    assert text.samples == openmetrics.samples
    assert len(text.samples) > 60
    described = [{(f.name, f.type, f.documentation) for f in each.families} for each in (text, openmetrics)]
    assert described[0] == described[1]
    assert {family.unit for family in openmetrics.families} == {"", "seconds", "bytes"}


def test_every_metric_is_exposed(metrics: WorkerMetrics) -> None:
    """The exposition has the metrics of the catalogue, each with its labels, and no other."""
    text = exposition(read(metrics.board))
    families = {family.name: family for family in Scraped(text).families}
    expected = {PREFIX + metric.name.removesuffix("_total"): metric for metric in METRICS}
    assert families.keys() == expected.keys()
    for name, metric in expected.items():
        assert families[name].type == metric.kind
        assert families[name].samples, f"{name} has no value here, which leaves its labels unchecked"
        for sample in families[name].samples:
            assert set(sample.labels) - {"le"} == set(metric.labels)


def test_names_follow_the_conventions() -> None:
    """Counters end in _total and nothing else does; a metric of time or size is in seconds or bytes."""
    for metric in METRICS:
        assert metric.name.endswith("_total") == (metric.kind == "counter")
        if "duration" in metric.name or "time_" in metric.name:
            assert metric.unit == "seconds"
        assert metric.help.endswith(".")
        assert not {"milliseconds", "ms", "kilobytes", "megabytes", "mb"} & set(metric.name.split("_"))


def test_families_come_whole_and_in_order(metrics: WorkerMetrics) -> None:
    """Every family has one HELP and one TYPE line before its samples, also where it has none yet."""
    lines = exposition(read(metrics.board)).splitlines()
    types = [line.split()[2] for line in lines if line.startswith("# TYPE ")]
    helps = [line.split()[2] for line in lines if line.startswith("# HELP ")]
    assert types == helps == [PREFIX + metric.name for metric in METRICS]


def test_label_values_are_escaped() -> None:
    """Quotes, backslashes and line ends in a value do not break the line."""
    value = 'a "quoted" \\ and\na line'
    metric = METRICS[0]._replace(labels=("route",))
    scraped = Scraped(exposition([Reading(metric, [((value,), 1.0)])]))
    assert [sample.labels["route"] for sample in scraped.samples] == [value]


def test_large_and_fractional_numbers() -> None:
    """Counts stay exact up to 2**53, and fractions as exact as a float is."""
    metric = METRICS[0]._replace(labels=("route",))
    values = [0.0, 1.0, 2.0**53 - 1, 0.1, 1e-9, 1e20]
    readings = [Reading(metric, [((str(number),), value) for number, value in enumerate(values)])]
    assert [sample.value for sample in Scraped(exposition(readings)).samples] == values


def test_build_info(metrics: WorkerMetrics) -> None:
    """The version of the server is a label."""
    assert Scraped(exposition(read(metrics.board))).values("build_info", version=__version__) == [1]
