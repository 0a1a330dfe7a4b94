"""The trivial work."""

from typing import Any

import bentoml


@bentoml.service
class Trivial:
    """The function."""

    @bentoml.api
    def score(self, data: list[int]) -> dict[str, Any]:
        """Answer the same always."""
        return {"ok": 1}
