"""How well several workers are used: answers/s of a `run()` that takes 20 ms, as a share of what the workers could do.

The servers take turns, several rounds, medians. The aim is at least the released server's share, which takes one
connection at a time and so is as fair as can be.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import statistics
import sys
from pathlib import Path

from waiting import RUN_S

from bench import HERE, Running, System, requests_per_second, serving

WORKERS = 4
CONNECTIONS = (4, 8, 16, 64)
OURS, RELEASED = "azmlinfsrv", "released server 1.5.1"
CLOSED = 'wrk.headers["Connection"]="close"\n'

# The server, whether connections are kept, and how many there are.
Load = tuple[str, bool, int]


def run(release: Path, rounds: int, seconds: int) -> dict[Load, list[float]]:
    """Return the shares of each load in each round."""
    commands = {
        OURS: [sys.executable, "-m", "azmlinfsrv"],
        RELEASED: [str(release.absolute()), "-m", "azureml_inference_server_http"],
    }
    shares: dict[Load, list[float]] = {}
    with contextlib.ExitStack() as stack:
        running: dict[str, Running] = {}
        for name, command in commands.items():
            system = System(name, ["env", f"WORKER_COUNT={WORKERS}", *command])
            running[name] = stack.enter_context(serving(system, HERE / "waiting.py"))
            requests_per_second(running[name], 64, 2)  # until all workers have started
        for _ in range(rounds):
            for connections in CONNECTIONS:
                for kept in (True, False):
                    for name in commands:
                        found = requests_per_second(running[name], connections, seconds, "" if kept else CLOSED)
                        shares.setdefault((name, kept, connections), []).append(found * RUN_S / WORKERS)
                        print(f"{name}, kept {kept}, {connections}: {found:,.0f} requests/s", flush=True)
    return shares


def table(shares: dict[Load, list[float]]) -> str:
    """Return the shares as a Markdown table: medians, and the least and greatest of the rounds."""
    lines = ["| connections | azmlinfsrv | released server 1.5.1 |", "| --- | --- | --- |"]
    for connections in CONNECTIONS:
        for kept in (True, False):
            cells = [
                f"{statistics.median(found):.2f} ({min(found):.2f} to {max(found):.2f})"
                for found in (shares[name, kept, connections] for name in (OURS, RELEASED))
            ]
            lines.append(f"| {connections}, {'kept' if kept else 'one a request'} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--release", type=Path, required=True, help="Python of the environment of the released server")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=2, help="length of each load")
    parser.add_argument("--output", type=Path, default=HERE / "workers.md")
    options = parser.parse_args()
    shares = run(options.release, options.rounds, options.seconds)
    page = (
        "# How well several workers are used\n\n"
        f"Made by `python bench/workers.py --rounds {options.rounds} --seconds {options.seconds}`, {os.cpu_count()} "
        f"processors, Python {sys.version.split()[0]}; client and server on one machine, {WORKERS} workers, a `run()` "
        f"that sleeps for {RUN_S * 1000:.0f} ms.\n"
        f"Answers/s as a share of the {WORKERS / RUN_S:.0f} that the workers could give; the released server keeps no "
        "connection.\n\n"
        f"{table(shares)}\n"
    )
    options.output.write_text(page, "utf-8")
    print(page)


if __name__ == "__main__":
    main()
