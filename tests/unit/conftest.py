"""Fixtures of the fast tests."""

from __future__ import annotations

from typing import Any

import pytest
from inference_schema import schema_decorators, schema_util


@pytest.fixture
def _own_schemas(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the schemas of a test's functions from other tests: inference-schema knows functions by name."""
    for name in ("__functions_schema__", "__versions__"):
        known: dict[str, Any] = {}
        monkeypatch.setattr(schema_util, name, known)
        monkeypatch.setattr(schema_decorators, name, known)
