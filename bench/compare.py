"""Compares this server with others that serve a Python function: the same work on each, in turns, in one run.

Only ratios within one round count: absolute figures drift with the machine.
"""

from __future__ import annotations

import argparse
import signal
import sys
from pathlib import Path

from comparison import report
from comparison.catalogue import BENCH, CACHE, NAMES, OURS, System, load
from comparison.chart import chart
from comparison.environments import install, versions
from comparison.measure import START, Pace, closed_loop, starts
from comparison.open import OPEN, open_loop
from comparison.store import Store
from comparison.works import WORKS

TRIVIAL = WORKS[0]
CHART_CONNECTIONS = 64
QUICK_SYSTEMS = (OURS, "released", "fastapi", "mosec", "uvicorn", "llhttp", "loop")


def parsed() -> argparse.Namespace:
    """Return the options of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a minute: the trivial work, fewer systems, one round")
    parser.add_argument("--rounds", type=int, default=3, help="how often each load is repeated")
    parser.add_argument("--seconds", type=int, default=2, help="length of each load")
    names = [*(work.name for work in WORKS), OPEN, START]
    parser.add_argument("--works", nargs="+", choices=names, default=names, metavar="WORK", help=", ".join(names))
    parser.add_argument("--systems", nargs="+", choices=NAMES, default=NAMES, metavar="NAME", help=", ".join(NAMES))
    parser.add_argument("--connections", type=int, nargs="+", help="only these loads")
    parser.add_argument("--add", action="store_true", help="add rounds to those of the last run")
    parser.add_argument("--report", action="store_true", help="measure nothing, only write the report again")
    parser.add_argument("--output", type=Path, default=BENCH / "results.md")
    return parser.parse_args()


def installed(systems: list[System], store: Store) -> list[System]:
    """Return those that can be had, and note what they are."""
    found = []
    for system in systems:
        why = install(system)
        if why:
            store.fail(TRIVIAL.name, system.name, why)
            continue
        store.versions[system.name] = report.version_of(system, versions(system))
        found.append(system)
    return found


def main() -> None:
    """Measure, print and write."""
    options = parsed()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # the servers are stopped then, too
    kept = CACHE / "measured.json"
    CACHE.mkdir(parents=True, exist_ok=True)
    if not (options.add or options.report):
        kept.unlink(missing_ok=True)
    store = Store(kept)
    if options.quick:
        options.works, options.systems, options.rounds, options.seconds = [TRIVIAL.name], QUICK_SYSTEMS, 1, 2
        options.connections = [1, 64]
    if not options.report:
        systems = installed(load(tuple(options.systems)), store)
        pace = Pace(options.rounds, options.seconds, tuple(options.connections or ()) or None)
        for work in WORKS:
            if work.name in options.works:
                closed_loop(work, systems, pace, store)
        if OPEN in options.works:
            open_loop(systems, options.rounds, options.seconds, store)
        if START in options.works:
            starts(TRIVIAL, systems, options.rounds, store)
        store.save()
    page = report.page(store)
    print(page)
    if not options.quick:
        options.output.write_text(page, "utf-8")
        drawn = chart(
            f"Requests/s of a trivial function, {CHART_CONNECTIONS} connections", report.bars(store, CHART_CONNECTIONS)
        )
        options.output.with_suffix(".svg").write_text(drawn, "utf-8")


if __name__ == "__main__":
    main()
