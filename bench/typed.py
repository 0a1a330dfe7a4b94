"""What validation of a typed script costs, against pydantic's own `validate_json` of the same models.

Usage: python bench/typed.py
"""

from __future__ import annotations

import inspect
import json
import statistics
import time
from collections.abc import Callable
from typing import Annotated, Any

import pydantic
from pydantic import BaseModel, Field

from azmlinfsrv.typed import TypedRun

ROUNDS = 60
ROUND_S = 0.02


class Passenger(BaseModel):
    """One person."""

    name: str
    age: Annotated[float, Field(ge=0, le=150)] | None = None
    tags: list[str] = []


class Input(BaseModel):
    """The same input as one model."""

    passengers: list[Passenger]
    limit: int = 3


def run(passengers: list[Passenger], limit: int = 3) -> None:
    """Take the input."""


def seconds(function: Callable[[bytes], Any], body: bytes, calls: int) -> float:
    """Return how long one call takes."""
    started = time.perf_counter()
    for _ in range(calls):
        function(body)
    return (time.perf_counter() - started) / calls


def main() -> None:
    """Compare for small and large bodies."""
    parameters = list(inspect.signature(run).parameters.values())
    typed = TypedRun(run, parameters, {"passengers": list[Passenger], "limit": int})
    own = pydantic.TypeAdapter(Input)
    print(f"pydantic {pydantic.VERSION}, medians of {ROUNDS} alternating rounds")
    print("| passengers | body bytes | pydantic, µs | typed run(), µs | ratio |\n| --- | --- | --- | --- | --- |")
    for count in (1, 10, 1000):
        rows = [{"name": f"Name {number}", "age": number % 90, "tags": ["a", "b"]} for number in range(count)]
        body = json.dumps({"passengers": rows, "limit": 5}).encode()
        calls = max(1, int(ROUND_S / seconds(own.validate_json, body, 20)))
        times: dict[str, list[float]] = {"own": [], "typed": []}
        for _ in range(ROUNDS):
            times["own"].append(seconds(own.validate_json, body, calls))
            times["typed"].append(seconds(typed.from_json, body, calls))
        a, b = (statistics.median(times[name]) * 1e6 for name in ("own", "typed"))
        ratio = statistics.median(y / x for x, y in zip(times["own"], times["typed"], strict=True))
        print(f"| {count} | {len(body)} | {a:.2f} | {b:.2f} | {ratio:.2f} |")


if __name__ == "__main__":
    main()
