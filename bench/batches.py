"""What the size of a batch and its wait bring: requests/s and latencies of a random forest, a row a request.

The servers take turns, several rounds, medians; each has one worker.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
from pathlib import Path

from comparison.catalogue import BENCH, OURS, Setup, load
from comparison.environments import install
from comparison.servers import serving
from comparison.works import WORKS
from comparison.wrk import Load
from comparison.wrk import load as put_load

WORK = "batched"
SIZES = (8, 32, 64, 128)
WAITS_MS = (0, 5)
KINDS = [(1, 0), *((size, wait_ms) for size in SIZES for wait_ms in WAITS_MS)]
CONNECTIONS = (1, 16, 64)
WARM_S = 1

# Size and wait of a server, and the number of connections.
Case = tuple[int, int, int]


def setup_of(size: int, wait_ms: int) -> Setup:
    """Return how this server serves the forest with batches of that size; 1 is without batches."""
    (system,) = load((OURS,))
    setup = system.setup(WORK if size > 1 else "forest")
    if size > 1:
        limits = {"AZMLINFSRV_MAX_BATCH_SIZE": str(size), "AZMLINFSRV_MAX_BATCH_WAIT_MS": str(wait_ms)}
        system.table["work"][WORK]["env"] = limits
    return setup


def measure(rounds: int, seconds: int) -> dict[Case, list[Load]]:
    """Return what each load found in each round."""
    (work,) = (work for work in WORKS if work.name == WORK)
    found: dict[Case, list[Load]] = {}
    for _ in range(rounds):
        for size, wait_ms in KINDS:
            setup = setup_of(size, wait_ms)
            with serving(setup, work.body(setup.table["form"])) as server:
                server.check()
                put_load(server, max(CONNECTIONS), WARM_S)
                for connections in CONNECTIONS:
                    server.check()  # once it answers, nothing is left of the load before
                    one = put_load(server, connections, seconds)
                    found.setdefault((size, wait_ms, connections), []).append(one)
                    print(f"size {size}, wait {wait_ms} ms, {connections} connections: {one}", flush=True)
    return found


def table(found: dict[Case, list[Load]]) -> str:
    """Return the figures as a Markdown table: medians of the rounds."""
    names = [f"{connections} connection{'s' if connections > 1 else ''}" for connections in CONNECTIONS]
    lines = [f"| max_batch_size | max_wait_ms | {' | '.join(names)} |", "| --- " * (2 + len(names)) + "|"]
    for size, wait_ms in KINDS:
        cells = ["none" if size == 1 else str(size), "" if size == 1 else str(wait_ms)]
        for connections in CONNECTIONS:
            rounds = found[size, wait_ms, connections]
            rate, p50, p99 = (
                statistics.median(getattr(one, name) for one in rounds)
                for name in ("requests_per_s", "p50_ms", "p99_ms")
            )
            cells.append(f"{rate:,.0f}/s, {p50:.1f} and {p99:.1f} ms")
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=2, help="length of each load")
    parser.add_argument("--output", type=Path, default=BENCH / "batches.md")
    options = parser.parse_args()
    (system,) = load((OURS,))
    why = install(system)
    if why:
        raise SystemExit(why)
    found = measure(options.rounds, options.seconds)
    page = (
        "# What the size of a batch brings\n\n"
        f"Made by `python bench/batches.py --rounds {options.rounds} --seconds {options.seconds}`, {os.cpu_count()} "
        f"processors, Python {sys.version.split()[0]}; client and server on one machine, one worker, a random forest "
        "of 100 trees, a row a request.\n"
        "Requests/s, and the latencies that half and 99 of 100 requests had at the most; medians of the rounds.\n\n"
        f"{table(found)}\n"
    )
    options.output.write_text(page, "utf-8")
    print(page)


if __name__ == "__main__":
    main()
