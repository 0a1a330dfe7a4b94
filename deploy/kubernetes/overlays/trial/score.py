"""Say back what was sent: put your own script here."""

import json


def init() -> None:
    """Load nothing: there is no model."""


def run(raw_data: str) -> dict[str, object]:
    """Answer any JSON document with itself."""
    return {"received": json.loads(raw_data)}
