"""A model that takes a while, whatever the processors do: how many answers a second there are shows who waits."""

import time

RUN_S = 0.02


def init() -> None:
    """Load nothing."""


def run(data: str) -> dict[str, int]:  # noqa: ARG001 - the input does not matter
    """Take 20 ms."""
    time.sleep(RUN_S)
    return {"ok": 1}
