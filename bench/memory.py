"""What memory the workers need for a model of 200 MB, alone and shared by WORKER_PRELOAD, before and after requests.

RSS counts a page in every process that has it, PSS (proportional set size) shares it out among them, so the PSS of
all processes add up to what the machine has lost.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import statistics
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from large import MODEL_MB

from bench import HERE, Running, System, requests_per_second, serving

WORKERS = 4
OURS, RELEASED = "azmlinfsrv", "released server 1.5.1"
START_S = 60.0
MODELS = {"piece": "one piece", "objects": "a list of floats"}


class Memory(NamedTuple):
    """Memory in MB: a worker's own RSS and PSS, medians of the workers, and the PSS of all processes together."""

    worker_rss: float
    worker_pss: float
    all_pss: float


# The server, the model, whether it is preloaded, and whether requests have been answered.
Row = tuple[str, str, bool, bool]


def children(pid: int) -> list[int]:
    """Return the process ids of a process's children."""
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text("ascii").split()]


def rollup_mb(pid: int) -> tuple[float, float]:
    """Return RSS and PSS of a process."""
    text = Path(f"/proc/{pid}/smaps_rollup").read_text("ascii")
    rss, pss = (
        int(found[1]) / 1024
        for name in ("Rss", "Pss")
        if (found := re.search(rf"^{name}:\s+(\d+) kB", text, re.MULTILINE))
    )
    return rss, pss


def memory(running: Running) -> Memory:
    """Return the memory of a server."""
    workers = [rollup_mb(pid) for pid in children(running.pid)]
    everything = sum(pss for _, pss in workers) + rollup_mb(running.pid)[1]
    return Memory(
        statistics.median(rss for rss, _ in workers), statistics.median(pss for _, pss in workers), everything
    )


@contextlib.contextmanager
def started(name: str, command: list[str], model: str, *, preload: bool) -> Iterator[Running]:
    """Run a server until all its workers have loaded the model."""
    variables = [f"WORKER_COUNT={WORKERS}", f"WORKER_PRELOAD={str(preload).lower()}", f"MODEL={model}"]
    with serving(System(name, ["env", *variables, *command]), HERE / "large.py") as running:
        deadline = time.monotonic() + START_S
        while sum(rollup_mb(pid)[0] >= MODEL_MB for pid in children(running.pid)) < WORKERS:
            if time.monotonic() > deadline:
                raise RuntimeError(f"{name} did not start all its workers")
            time.sleep(0.1)
        time.sleep(1)  # for what follows the model
        yield running


def run(release: Path, seconds: int) -> dict[Row, Memory]:
    """Return the memory of each server with each model, before and after requests."""
    commands = {
        RELEASED: [str(release.absolute()), "-m", "azureml_inference_server_http"],
        OURS: [sys.executable, "-m", "azmlinfsrv"],
    }
    rows: dict[Row, Memory] = {}
    for model in MODELS:
        for preload in (False, True):
            for name, command in commands.items():
                with started(name, command, model, preload=preload) as running:
                    rows[name, model, preload, False] = memory(running)
                    requests_per_second(running, 64, seconds)
                    rows[name, model, preload, True] = memory(running)
                for after in (False, True):
                    print(name, model, f"preload {preload}, after requests {after}:", rows[name, model, preload, after])
    return rows


def table(rows: dict[Row, Memory]) -> str:
    """Return the figures as a Markdown table."""
    lines = [
        "| model | WORKER_PRELOAD | | server | RSS of a worker | PSS of a worker | PSS of all |",
        "| --- " * 7 + "|",
    ]
    for (name, model, preload, after), found in rows.items():
        when = "after requests" if after else "idle"
        cells = " | ".join(f"{value:,.0f} MB" for value in found)
        lines.append(f"| {MODELS[model]} | {str(preload).lower()} | {when} | {name} | {cells} |")
    return "\n".join(lines)


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--release", type=Path, required=True, help="Python of the environment of the released server")
    parser.add_argument("--seconds", type=int, default=3, help="length of the load between both measurements")
    parser.add_argument("--output", type=Path, default=HERE / "memory.md")
    options = parser.parse_args()
    rows = run(options.release, options.seconds)
    page = (
        "# Memory of several workers\n\n"
        f"Made by `python bench/memory.py --seconds {options.seconds}`, {os.cpu_count()} processors, Python "
        f"{sys.version.split()[0]}; {WORKERS} workers, a model of {MODEL_MB} MB that `init()` makes.\n"
        "RSS counts a page in every process that has it; PSS shares it out among them, and all PSS together are what "
        "the machine has lost, the arbiter included.\n"
        f"The requests are those of {options.seconds} seconds with 64 connections; each reads all pages of the "
        "piece, which is how NumPy and PyTorch hold weights, or the next hundredth of the list.\n\n"
        f"{table(rows)}\n"
    )
    options.output.write_text(page, "utf-8")
    print(page)


if __name__ == "__main__":
    main()
