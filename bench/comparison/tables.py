"""What was found, as tables."""

from __future__ import annotations

import statistics

from comparison.catalogue import OURS, load
from comparison.store import Sample, Store

# For a work: the samples of each system, by their rounds.
Rows = dict[str, dict[int, Sample]]


def rows_of(store: Store, work: str, named: str) -> Rows:
    """Return the samples of one load, in the order in which systems are shown."""
    found: Rows = {}
    for sample in store.samples:
        if (sample.work, sample.load) == (work, named):
            found.setdefault(sample.system, {})[sample.turn] = sample
    return {system.name: found[system.name] for system in load() if system.name in found}


def median(rows: dict[int, Sample], figure: str) -> float:
    """Return the median of a figure over the rounds."""
    return statistics.median(sample.figures[figure] for sample in rows.values())


def ratios(rows: Rows, name: str, figure: str) -> list[float]:
    """Return ours to another in each round that has both, sorted."""
    pairs = [(rows[OURS][turn], sample) for turn, sample in rows[name].items() if turn in rows.get(OURS, {})]
    return sorted(a.figures[figure] / b.figures[figure] for a, b in pairs if b.figures.get(figure))


def spread(found: list[float]) -> str:
    """Return ratios as a median and a range."""
    if not found:
        return "| "
    digits = 2 if statistics.median(found) < 10 else 1
    return f"{statistics.median(found):.{digits}f} | {found[0]:.{digits}f} to {found[-1]:.{digits}f}"


def number(value: float) -> str:
    """Return a figure with as many digits as it deserves."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def load_table(rows: Rows) -> list[str]:
    """Return the table of a closed loop."""
    columns = ("requests/s", "p50, ms", "p99, ms", "errors", "processor, µs each", "memory, MB", "ours to it", "range")
    lines = [f"| | {' | '.join(columns)} |", "| --- " * 9 + "|"]
    for name, mine in rows.items():
        cells = [number(median(mine, "requests_per_s"))]
        if all("p50_ms" in sample.figures for sample in mine.values()):
            cells += [number(median(mine, "p50_ms")), number(median(mine, "p99_ms"))]
            cells += [f"{sum(sample.figures['errors'] for sample in mine.values()):,.0f}"]
            cells += [number(median(mine, "cpu_us")), number(median(mine, "memory_mb"))]
        else:
            cells += [""] * 5
        lines.append(f"| {title(name)} | {' | '.join(cells)} | {spread(ratios(rows, name, 'requests_per_s'))} |")
    return lines


def open_table(rows: Rows) -> list[str]:
    """Return the table of an open loop."""
    columns = ("requests/s", "p50, ms", "p99, ms", "errors", "client's processor", "client late, p99, ms")
    lines = [f"| | {' | '.join(columns)} | p99, ours to it | range |", "| --- " * 9 + "|"]
    for name, mine in rows.items():
        cells = [number(median(mine, key)) for key in ("rate", "p50_ms", "p99_ms")]
        cells.append(f"{sum(sample.figures['errors'] for sample in mine.values()):,.0f}")
        cells += [f"{median(mine, 'client_share'):.0%}", number(median(mine, "client_late_p99_ms"))]
        lines.append(f"| {title(name)} | {' | '.join(cells)} | {spread(ratios(rows, name, 'p99_ms'))} |")
    return lines


def start_table(rows: Rows) -> list[str]:
    """Return the table of starts."""
    lines = ["| | start, ms | ours to it | range | memory, MB | ours to it | range |", "| --- " * 7 + "|"]
    for name, mine in rows.items():
        cells = [number(median(mine, "start_ms")), spread(ratios(rows, name, "start_ms"))]
        cells += [number(median(mine, "memory_mb")), spread(ratios(rows, name, "memory_mb"))]
        lines.append(f"| {title(name)} | {' | '.join(cells)} |")
    return lines


def title(name: str) -> str:
    """Return what people call a system."""
    (system,) = load((name,))
    return system.title
