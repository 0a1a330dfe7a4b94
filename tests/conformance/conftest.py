"""Fixtures of the conformance suite."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from .cases import load_blocks
from .differences import Difference, load_differences
from .release import current_command, release_command
from .side_by_side import SideBySide


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
