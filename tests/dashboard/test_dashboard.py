"""The dashboard and the alerts ask for what `/metrics` has, and a real Prometheus can answer them."""

from __future__ import annotations

import json
import re
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from azmlinfsrv.telemetry.board import Board
from azmlinfsrv.telemetry.catalogue import METRICS, PREFIX
from azmlinfsrv.telemetry.metrics import WorkerMetrics
from azmlinfsrv.telemetry.prometheus import exposition
from azmlinfsrv.telemetry.readings import read
from tests.conftest import RequireProgram, StartServer
from tests.dashboard.monitor import Monitor
from tests.dashboard.panels import DEPLOY, RULES, Query, alerts, dashboard, grouping_of, metrics_of, panels
from tests.process.asking import PATIENCE_S, ask
from tests.servers import RunningServer

# What Prometheus adds to every sample of a target.
TARGET = {"job", "instance"}
QUERIES = [(panel.title, query) for panel in panels() for query in panel.queries]
# What a server without drops and batches has no value of.
EMPTY = {"Telemetry dropped", "Rows in a batch"}
SCRIPTS = Path(__file__).resolve().parents[1] / "process" / "scripts"


@pytest.fixture(scope="module")
def exposed() -> dict[str, set[str]]:
    """The names of the samples that `/metrics` has, each with its labels."""
    board = Board(1, 1)
    metrics = WorkerMetrics(board, board.take())
    metrics.serve(["/score"], 1, 0.0, max_batch_size=8)
    names: dict[str, set[str]] = {
        f"{PREFIX}{metric.name}{suffix}": set(metric.labels) | ({"le"} if suffix == "_bucket" else set())
        for metric in METRICS
        for suffix in (("_bucket", "_sum", "_count") if metric.kind == "histogram" else ("",))
    }
    names["up"] = set()
    text = exposition(read(board))
    assert all(f"# TYPE {PREFIX}{metric.name} " in text for metric in METRICS)
    return names


def check(expression: str, exposed: dict[str, set[str]]) -> set[str]:
    """Fail if an expression names a metric or a label that there is not; return the labels of its result."""
    found = metrics_of(expression)
    assert found, expression
    labels = set(TARGET)
    for name, selected in found:
        assert name in exposed, f"{name} is not in /metrics"
        assert selected <= exposed[name] | TARGET, f"{name} has no label {selected - exposed[name] - TARGET}"
        labels |= exposed[name]
    assert grouping_of(expression) <= labels, f"no label {grouping_of(expression) - labels}"
    return grouping_of(expression)


@pytest.mark.parametrize(("title", "query"), QUERIES)
def test_panels_ask_for_metrics_that_exist(title: str, query: Query, exposed: dict[str, set[str]]) -> None:
    """Every metric and label of a panel is in the exposition, and its legend has only labels of its result."""
    grouped = check(query.expression, exposed)
    assert set(re.findall(r"{{(\w+)}}", query.legend)) <= grouped, title
    if "sum by (le" in query.expression or "histogram_quantile" in query.expression:
        assert all(name.endswith("_bucket") for name, _ in metrics_of(query.expression))


def test_every_metric_is_on_the_dashboard() -> None:
    """An operator sees all that is measured: each metric is asked for by a panel or an annotation."""
    text = json.dumps(dashboard())
    assert [metric.name for metric in METRICS if PREFIX + metric.name not in text] == []


def test_the_data_source_and_the_servers_can_be_chosen() -> None:
    """Data source, job and instance are variables, every panel uses them, and no panel names a source of its own."""
    loaded = dashboard()
    variables = {variable["name"]: variable for variable in loaded["templating"]["list"]}
    assert variables.keys() == {"datasource", "job", "instance"}
    assert variables["datasource"]["type"] == "datasource"
    for panel in loaded["panels"]:
        for target in panel.get("targets", []):
            assert target["datasource"]["uid"] == panel["datasource"]["uid"] == "${datasource}"
            selectors = [selected for name, selected in metrics_of(target["expr"]) if name != "up"]
            assert selectors and all(selected >= TARGET for selected in selectors)
    annotations = [each["expr"] for each in loaded["annotations"]["list"]]
    assert all(metrics_of(expression) for expression in annotations)


def test_panels_do_not_overlap() -> None:
    """Each place of the grid has one panel, ids are unique, and every panel says what it shows."""
    taken: set[tuple[int, int]] = set()
    for panel in panels():
        x, y, width, height = panel.place
        cells = {(column, line) for column in range(x, x + width) for line in range(y, y + height)}
        assert not taken & cells and x + width <= 24, panel.title
        taken |= cells
    loaded = dashboard()["panels"]
    assert len({panel["id"] for panel in loaded}) == len(loaded)
    assert all(panel["description"].endswith(".") for panel in loaded if panel["type"] != "row")


@pytest.mark.parametrize("expression", alerts())
def test_alerts_ask_for_metrics_that_exist(expression: str, exposed: dict[str, set[str]]) -> None:
    """Every metric and label of an alert is in the exposition."""
    check(expression, exposed)


def test_all_alerts_are_checked() -> None:
    """The expressions are found in the file, whichever way they are written."""
    assert len(alerts()) == RULES.read_text("utf-8").count("- alert:")


@pytest.mark.process
def test_promtool_accepts_the_files(require_program: RequireProgram) -> None:
    """Prometheus' own tool finds nothing wrong with the configuration and the rules."""
    checked = subprocess.run(
        [require_program("promtool"), "check", "config", DEPLOY / "prometheus.yml"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert f"{len(alerts())} rules found" in checked.stdout


def keep_asking(server: RunningServer, stop: threading.Event) -> None:
    """Send good and failing requests until told to stop."""
    while not stop.is_set():
        for what, arguments in (("pid", {}), ("sleep", {"seconds": 0.01}), ("fail", {"text": "no"})):
            ask(server, what, **arguments)


@pytest.fixture
def monitor(require_program: RequireProgram, server: StartServer, tmp_path: Path) -> Iterator[Monitor]:
    """A Prometheus that scrapes a server with two workers under load."""
    program = require_program("prometheus")
    running = server(SCRIPTS / "steps.py", env={"WORKER_COUNT": "2"})
    (tmp_path / "prometheus").mkdir()
    watching = Monitor(program, tmp_path / "prometheus", running.port, "200ms")
    stop = threading.Event()
    load = threading.Thread(target=keep_asking, args=(running, stop))
    load.start()
    try:
        yield watching
    finally:
        stop.set()
        load.join(PATIENCE_S)
        watching.stop()


@pytest.mark.process
@pytest.mark.timeout(120)
def test_prometheus_answers_every_panel_and_alert(monitor: Monitor) -> None:
    """A real Prometheus scrapes the server, takes every expression, and has data for every panel."""
    failed = 'sum(rate(azmlinfsrv_requests_total{route="/score",status="500"}[5s]))'
    monitor.wait_until(lambda: any(series.points[0][1] > 0 for series in monitor.ask(failed)))
    assert [series.points[0][1] for series in monitor.ask("up")] == [1]
    assert [series.points[0][1] for series in monitor.ask("sum(azmlinfsrv_workers_up)")] == [2]
    missing = [title for title, query in QUERIES if not monitor.ask(query.filled("5s"))]
    assert set(missing) <= EMPTY
    for expression in alerts():
        monitor.ask(expression)
