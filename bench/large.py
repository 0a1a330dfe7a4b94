"""A script with a model of 200 MB, made by init(): one piece of memory, or objects of Python's, as MODEL says."""

from __future__ import annotations

import itertools
import os

MODEL_MB = 200
PAGE_BYTES = 4096
PARTS = 100
state: dict[str, bytes | list[float]] = {}
turns = itertools.count()


def init() -> None:
    """Make the model: weights, as NumPy and PyTorch hold them, or a list of numbers."""
    size = MODEL_MB * 1024 * 1024
    if os.environ["MODEL"] == "piece":
        state["model"] = b"\1" * size
    else:
        state["model"] = [float(number) for number in range(size // 32)]  # 24 bytes each, and 8 in the list


def run(data: str) -> dict[str, float]:  # noqa: ARG001 - the input does not matter
    """Read a byte of each page of the piece, or the next hundredth of the list."""
    model = state["model"]
    if isinstance(model, bytes):
        return {"sum": sum(model[::PAGE_BYTES])}
    part = next(turns) % PARTS
    return {"sum": sum(model[part * len(model) // PARTS : (part + 1) * len(model) // PARTS])}
