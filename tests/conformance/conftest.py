"""Fixtures of the conformance suite, and its line in the summary."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from .cases import load_blocks
from .differences import Difference, load_differences
from .release import current_command, release_command
from .side_by_side import SideBySide

OUTCOMES = pytest.StashKey[dict[str, str]]()


def pytest_configure(config: pytest.Config) -> None:
    """Prepare to count."""
    config.stash[OUTCOMES] = {}


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Print how many cases there were, and how they came out."""
    outcomes = list(config.stash[OUTCOMES].values())
    if outcomes:
        equal, intended = outcomes.count("equal"), outcomes.count("intended")
        text = f"conformance: {len(outcomes)} cases, {equal} equal, {intended} intended differences"
        terminalreporter.write_line(text)


@pytest.fixture(scope="session")
def outcomes(pytestconfig: pytest.Config) -> dict[str, str]:
    """How each case came out: equal, intended or unlisted."""
    return pytestconfig.stash[OUTCOMES]


@pytest.fixture(scope="session")
def differences() -> list[Difference]:
    """The reviewed list of what differs on purpose."""
    return load_differences()


@pytest.fixture(scope="session")
def side_by_side(request: pytest.FixtureRequest) -> Iterator[SideBySide]:
    """Both servers; the blocks of all selected tests are on their way."""
    release = release_command()
    selected = {item.callspec.params.get("case_id") for item in request.session.items if hasattr(item, "callspec")}
    with SideBySide(release, current_command(release), min(2, os.cpu_count() or 1)) as both:
        for block in load_blocks():
            if selected.intersection(block.case_ids):
                both.announce(block)
        yield both
