"""What was measured, kept in a file, so that a comparison may be made of several short runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple


class Sample(NamedTuple):
    """One load on one system.

    Attributes:
        work: the name of the work.
        load: which load of that work.
        system: the name of the system.
        turn: the round; ratios are made within one.
        figures: what was found, by the name of the quantity.
    """

    work: str
    load: str
    system: str
    turn: int
    figures: dict[str, float]


class Store:
    """The samples and failures of a comparison.

    Args:
        path: the file that keeps them.

    Attributes:
        samples: in the order in which they were taken.
        failures: why a system did not do some work, by `work` and the name of the system.
        versions: what was measured, by the name of the system.
    """

    def __init__(self, path: Path) -> None:
        self.samples: list[Sample] = []
        self.failures: dict[str, dict[str, str]] = {}
        self.versions: dict[str, str] = {}
        self._path = path
        if path.exists():
            kept = json.loads(path.read_text("utf-8"))
            self.samples = [Sample(*row) for row in kept["samples"]]
            self.failures = kept["failures"]
            self.versions = kept["versions"]

    def next_turn(self) -> int:
        """Return the number of the next round."""
        return 1 + max((sample.turn for sample in self.samples), default=0)

    def add(self, sample: Sample) -> None:
        """Take a sample, keep it, and show it."""
        self.samples.append(sample)
        self.save()
        shown = " · ".join(f"{name} {value:,.2f}" for name, value in sample.figures.items())
        print(f"{sample.work}, {sample.load}, {sample.system}: {shown}", flush=True)

    def fail(self, work: str, system: str, why: str) -> None:
        """Note that a system did not do some work."""
        self.failures.setdefault(work, {})[system] = why
        print(f"{work}, {system}: {why}", flush=True)

    def succeed(self, work: str, system: str) -> None:
        """Forget that a system did not do some work earlier."""
        self.failures.get(work, {}).pop(system, None)

    def save(self) -> None:
        """Write the file."""
        kept = {"samples": self.samples, "failures": self.failures, "versions": self.versions}
        self._path.write_text(json.dumps(kept), "utf-8")
