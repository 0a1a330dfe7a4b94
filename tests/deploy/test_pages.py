"""The how-tos name settings, endpoints, metrics and files that are there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from azmlinfsrv.settings import rows
from azmlinfsrv.telemetry.catalogue import METRICS, PREFIX

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "docs" / "how-to" / f"{name}.md" for name in ("kubernetes", "azureml", "virtual-machine")]
# Variables of the unit and of libraries, a signal, and words in capitals.
OTHERS = {"PORT", "HOME", "SIGTERM", "CAP_NET_BIND_SERVICE"}
ENDPOINTS = {"/live", "/ready", "/score", "/metrics"}

each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)


def words(page: Path) -> set[str]:
    """Return the words of a page's code: spans and blocks."""
    text = page.read_text("utf-8")
    code = re.findall(r"^```sh\n(.*?)^```", text, re.MULTILINE | re.DOTALL) + re.findall(r"`([^`\n]+)`", text)
    return {word for part in code for word in part.split()}


@each_page
def test_variables_are_settings(page: Path) -> None:
    """Every variable that a page names is in the table of settings."""
    known = {variable for row in rows().values() for variable in row.spec.variables}
    named = {found for word in words(page) for found in re.findall(r"\b[A-Z][A-Z_]{3,}\b", word)}
    assert named
    assert named - OTHERS <= known


@each_page
def test_files_are_there(page: Path) -> None:
    """Every path of the project that a page names is there."""
    named = {word.strip("()") for word in words(page) if re.match(r"\(?(deploy|examples)/", word)}
    assert named
    for path in named:
        assert (ROOT / path).exists(), path


@each_page
def test_endpoints_are_the_servers(page: Path) -> None:
    """Every path of a URL, and every path in code that is one word, is an endpoint."""
    asked = {found for word in words(page) for found in re.findall(r"^(?:http://127\.0\.0\.1:\d+)?(/[a-z]+)$", word)}
    assert asked - {"/tmp"} <= ENDPOINTS  # noqa: S108 - a folder of the container


def test_metrics_are_the_servers() -> None:
    """Every metric that the pages name is one of the server's."""
    named = {found for page in PAGES for found in re.findall(rf"\b{PREFIX}\w+", page.read_text("utf-8"))}
    assert named <= {PREFIX + metric.name for metric in METRICS}
    assert named
