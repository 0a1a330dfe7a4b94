"""What inference-schema knows of the functions that were decorated, which all tests of a process share."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from inference_schema import schema_decorators, schema_util


@contextmanager
def own_schemas() -> Iterator[None]:
    """Keep the schemas of the functions within from all others: inference-schema knows functions by name.

    Those from before are known again behind it, so that a test module may decorate its functions as it is imported.
    """
    with pytest.MonkeyPatch.context() as patch:
        for name in ("__functions_schema__", "__versions__"):
            known: dict[str, Any] = {}
            patch.setattr(schema_util, name, known)
            patch.setattr(schema_decorators, name, known)
        yield
