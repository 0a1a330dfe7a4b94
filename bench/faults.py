"""What clients see of faults, what is lost, and how soon the service is back; also of reloads and recycling.

Clients post all the time, each over a connection that it keeps; what is away is measured as the longest time in which
none of them had an answer of 200. The aims: less than 2 s each, and no request lost to a reload or a recycling.
Some faults need root (a small file system, a control group) or a C compiler (a clock); without them their rows say so.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
from collections import Counter
from pathlib import Path

from fault_clients import CLIENTS
from fault_server import Outcome, Skipped
from process_faults import PROCESS_FAULTS
from resource_faults import RESOURCE_FAULTS

from bench import HERE

AIM_S = 2.0
DOCUMENT = HERE.parent / "docs" / "explanation" / "reliability.md"
BEGIN, END = "<!-- The table is made by bench/faults.py -->\n", "<!-- end of the table -->\n"


def measure(rounds: int, only: str) -> dict[str, list[Outcome]]:
    """Return what was seen of each fault in each round; the faults take turns."""
    figures: dict[str, list[Outcome]] = {}
    for _ in range(rounds):
        for label, fault in {**PROCESS_FAULTS, **RESOURCE_FAULTS}.items():
            if only not in label:
                continue
            try:
                outcome = fault()
            except Skipped as reason:
                outcome = Outcome(Counter(), 0.0, f"not tried: {reason}")
            figures.setdefault(label, []).append(outcome)
            print(
                f"{label}: {outcome.away_s:.2f} s, {dict(outcome.seen)}, {outcome.lost or 'nothing lost'}", flush=True
            )
    return figures


def table(figures: dict[str, list[Outcome]]) -> str:
    """Return the figures as a Markdown table."""
    lines = ["| what happens | answers of 200 | what else clients saw | away, s: median | longest | lost |"]
    lines.append("| --- " * 6 + "|")
    for label, rounds in figures.items():
        away = [outcome.away_s for outcome in rounds]
        seen: Counter[str] = sum((outcome.seen for outcome in rounds), Counter())
        others = ", ".join(f"{count} {what}" for what, count in sorted(seen.items()) if what != "200") or "nothing"
        lost = "; ".join(sorted({outcome.lost for outcome in rounds if outcome.lost})) or "nothing"
        cells = [label, f"{seen['200']:,}", others, f"{statistics.median(away):.2f}", f"{max(away):.2f}", lost]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def show(found: str, document: Path) -> None:
    """Put the table into a document, between its marks."""
    before, begin, rest = document.read_text("utf-8").partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"{document} has no place for the table")
    document.write_text(f"{before}{begin}\n{found}\n\n{end}{after}", "utf-8")


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", default="", help="faults whose name has this text; nothing is written")
    default = HERE / "faults.md"
    parser.add_argument("--output", type=Path, default=default, help="else the document has the table, too")
    options = parser.parse_args()
    found = table(measure(options.rounds, options.only))
    if options.only:
        print(found)
        return
    page = (
        "# What clients see of faults\n\n"
        f"Made by `python bench/faults.py --rounds {options.rounds}`, {os.cpu_count()} processors, Python "
        f"{sys.version.split()[0]}; {CLIENTS} clients that post all the time and the server on one machine, one "
        "worker where nothing else is said, a trivial `run()`.\n"
        "Away is the longest time without any answer of 200; the aims are less than "
        f"{AIM_S:.0f} s, and no request lost to a reload or a recycling.\n"
        "Lost is what was answered with 200 and is not in the collected model data, and what else is said.\n"
        "What each fault is, and what follows from it: [reliability](../docs/explanation/reliability.md).\n\n"
        f"{found}\n"
    )
    options.output.write_text(page, "utf-8")
    if options.output == default:
        show(found, DOCUMENT)
    print(page)


if __name__ == "__main__":
    main()
