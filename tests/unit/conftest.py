"""Fixtures of the fast tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.schemas import own_schemas


@pytest.fixture
def _own_schemas() -> Iterator[None]:
    """Keep the schemas of a test's functions from other tests."""
    with own_schemas():
        yield
