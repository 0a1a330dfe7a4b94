"""The panels of `deploy/grafana-dashboard.json` and the alerts of `deploy/prometheus-rules.yml`, and what they ask."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, NamedTuple

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
DASHBOARD = DEPLOY / "grafana-dashboard.json"
RULES = DEPLOY / "prometheus-rules.yml"

_METRIC = re.compile(r"\b(azmlinfsrv_\w+|up)\b(?:\{([^}]*)\})?")
_MATCHER = re.compile(r"(\w+)\s*(?:=~|!~|!=|=)")
_GROUPING = re.compile(r"\b(?:by|without|on|ignoring)\s*\(([^)]*)\)")
_ALERT = re.compile(r"^ +expr: (?:>-\n((?:^ {10}.*\n)+)|(.*))", re.MULTILINE)


class Query(NamedTuple):
    """One expression of a panel.

    Attributes:
        expression: PromQL, with Grafana's variables.
        legend: name of its lines, with labels in double braces.
    """

    expression: str
    legend: str

    def filled(self, window: str = "5m") -> str:
        """Return the expression as Grafana asks it, for every server and with rates over that window."""
        text = self.expression.replace("$__rate_interval", window)
        return text.replace("$job", ".*").replace("$instance", ".*")


class Panel(NamedTuple):
    """One panel.

    Attributes:
        kind: ``stat``, ``timeseries`` or ``row``.
        title: its title.
        unit: Grafana's name of its unit.
        place: left edge, top edge, width and height in the grid of 24 columns.
        queries: what it shows.
    """

    kind: str
    title: str
    unit: str
    place: tuple[int, int, int, int]
    queries: list[Query]


def dashboard() -> dict[str, Any]:
    """Return the dashboard as it stands."""
    loaded: dict[str, Any] = json.loads(DASHBOARD.read_text("utf-8"))
    return loaded


def panels() -> list[Panel]:
    """Return the panels of the dashboard."""
    return [
        Panel(
            panel["type"],
            panel["title"],
            panel.get("fieldConfig", {}).get("defaults", {}).get("unit", ""),
            (panel["gridPos"]["x"], panel["gridPos"]["y"], panel["gridPos"]["w"], panel["gridPos"]["h"]),
            [Query(target["expr"], target["legendFormat"]) for target in panel.get("targets", [])],
        )
        for panel in dashboard()["panels"]
    ]


def alerts() -> list[str]:
    """Return the expressions of the alerts."""
    return [" ".join((folded or single).split()) for folded, single in _ALERT.findall(RULES.read_text("utf-8"))]


def metrics_of(expression: str) -> list[tuple[str, set[str]]]:
    """Return the metrics that an expression names, each with the labels that it is selected by."""
    return [(name, set(_MATCHER.findall(selector))) for name, selector in _METRIC.findall(expression)]


def grouping_of(expression: str) -> set[str]:
    """Return the labels that an expression groups by."""
    return {label.strip() for group in _GROUPING.findall(expression) for label in group.split(",") if label.strip()}
