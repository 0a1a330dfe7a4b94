"""What the comparison is meant to show, and whether it does."""

from __future__ import annotations

import statistics
from typing import NamedTuple

from comparison.catalogue import NAMES, OURS
from comparison.measure import START
from comparison.open import OPEN, SHARES
from comparison.store import Store
from comparison.tables import ratios, rows_of, spread, title

LIMITS = ("uvicorn", "llhttp", "loop")
OTHERS = tuple(name for name in NAMES if name not in (OURS, *LIMITS))


class Aim(NamedTuple):
    """A ratio of ours to another.

    Attributes:
        work: the name of the work.
        loads: of that work.
        figure: what is compared.
        names: of the systems that ours is compared with.
        ratio: that is aimed at.
        most: whether it is the most, and not the least, that the ratio may be.
    """

    work: str
    loads: tuple[str, ...]
    figure: str
    names: tuple[str, ...]
    ratio: float
    most: bool = False


AIMS = (
    Aim("trivial", ("16", "64"), "requests_per_s", ("released",), 14),
    Aim("trivial", ("16", "64"), "requests_per_s", ("mosec",), 3),
    Aim("trivial", ("16", "64"), "requests_per_s", ("fastapi",), 5),
    Aim("trivial", ("16", "64"), "requests_per_s", ("litserve", "bentoml", "mlserver", "ray"), 12),
    Aim("trivial", ("16", "64"), "requests_per_s", ("uvicorn",), 1.2),
    Aim("trivial", ("16", "64"), "requests_per_s", ("llhttp",), 0.5),
    Aim("trivial", ("1",), "p50_ms", ("uvicorn",), 1.25, most=True),
    Aim("numpy", ("1", "4"), "requests_per_s", ("released",), 10),
    Aim("pandas", ("1", "4"), "requests_per_s", ("released",), 8),
    Aim("batched", ("64",), "requests_per_s", ("released",), 20),
    Aim("batched", ("64",), "requests_per_s", tuple(name for name in OTHERS if name != "released"), 1.2),
    Aim(START, ("",), "start_ms", ("released",), 0.6, most=True),
    Aim(START, ("",), "memory_mb", ("released",), 0.75, most=True),
    Aim(OPEN, (f"{SHARES[0]:.0%} of its capacity",), "p99_ms", OTHERS, 1, most=True),
)


def table(store: Store) -> list[str]:
    """Return what was aimed at and what was found."""
    lines = ["| work | load | ours to | aim | ratio | range | |", "| --- " * 7 + "|"]
    for aim in AIMS:
        for named in aim.loads:
            rows = rows_of(store, aim.work, named)
            for name in aim.names:
                found = ratios(rows, name, aim.figure) if name in rows else []
                if found:
                    lines.append(line(aim, named, name, found))
    return lines


def line(aim: Aim, named: str, name: str, found: list[float]) -> str:
    """Return a line of the table."""
    middle = statistics.median(found)
    reached = middle <= aim.ratio if aim.most else middle >= aim.ratio
    kind = aim.figure.replace("_ms", "").replace("_mb", "").replace("requests_per_s", "requests/s")
    wanted = f"at {'most' if aim.most else 'least'} {aim.ratio:g}"
    cells = [f"{aim.work}, {kind}", named, title(name), wanted, spread(found), "" if reached else "short"]
    return f"| {' | '.join(cells)} |"
