"""What telemetry costs: requests/s with Application Insights off, on, hanging and refusing, and the released server's.

Alternating, several rounds, medians; only ratios within one run count. The aims: at least 0.95 of the requests/s of
telemetry off where the endpoint hangs or refuses, and at least four times the released server's with its own on.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import socket
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from bench import HERE, System, requests_per_second, serving, worker_mb

KEY = "00000000-0000-0000-0000-000000000000"
OFF, TAKES, HANGS, REFUSES, RELEASED = "off", "on", "hangs", "refuses", "released server 1.5.1, on"


class Figures(NamedTuple):
    """What was measured of one server.

    Attributes:
        requests_s: requests per second.
        worker_mb: resident memory of the worker after the load.
        dropped: telemetry records that it says it has dropped.
    """

    requests_s: float
    worker_mb: float
    dropped: int


@contextlib.contextmanager
def endpoint(behaviour: str) -> Iterator[str]:
    """An ingestion endpoint in a process of its own."""
    command = [sys.executable, str(HERE / "ingestion.py"), behaviour]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        port = process.stdout.readline().strip() if process.stdout else ""
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.communicate()


def variables(url: str) -> dict[str, str]:
    """Return what turns telemetry on, for either server; the exporter must talk to nobody else."""
    return {
        "AML_APP_INSIGHTS_ENABLED": "true",
        "AML_APP_INSIGHTS_KEY": KEY,
        "APPLICATIONINSIGHTS_CONNECTION_STRING": f"InstrumentationKey={KEY};IngestionEndpoint={url}",
        "APPLICATIONINSIGHTS_STATSBEAT_DISABLED_ALL": "true",
        "APPLICATIONINSIGHTS_SDKSTATS_DISABLED": "true",
    }


def measure(command: list[str], env: dict[str, str], connections: int, seconds: int) -> Figures:
    """Return the figures of one server under load."""
    with tempfile.NamedTemporaryFile("r", suffix=".log") as log:
        assigned = [f"{name}={value}" for name, value in env.items()]
        shell = ["sh", "-c", f'exec "$@" >{log.name} 2>&1', "sh"]
        with serving(System(command[0], ["env", *assigned, *shell, *command]), HERE / "trivial.py") as running:
            requests_per_second(running, connections, 1)
            rate = requests_per_second(running, connections, seconds)
            memory = worker_mb(running)
        dropped = re.search(r"(\d+) records of telemetry were dropped", log.read())
    return Figures(rate, memory, int(dropped[1]) if dropped else 0)


def run(release: Path, rounds: int, connections: int, seconds: int) -> dict[str, list[Figures]]:
    """Return the figures of each system, a round each."""
    ours = [sys.executable, "-m", "azmlinfsrv"]
    theirs = [str(release.absolute()), "-m", "azureml_inference_server_http"]
    figures: dict[str, list[Figures]] = {}
    with contextlib.ExitStack() as stack:
        closed = stack.enter_context(socket.socket())
        closed.bind(("127.0.0.1", 0))
        takes, hangs = stack.enter_context(endpoint("takes")), stack.enter_context(endpoint("hangs"))
        refuses = f"http://127.0.0.1:{closed.getsockname()[1]}"
        systems = {
            OFF: (ours, {}),
            HANGS: (ours, variables(hangs)),
            REFUSES: (ours, variables(refuses)),
            TAKES: (ours, variables(takes)),
            RELEASED: (theirs, variables(takes)),
        }
        for number in range(rounds):
            order = list(systems) if number % 2 == 0 else list(reversed(systems))
            for name in order:
                found = measure(*systems[name], connections, seconds)
                figures.setdefault(name, []).append(found)
                print(f"{name}: {found.requests_s:,.0f} requests/s, {found.worker_mb:.0f} MB", flush=True)
    return {name: figures[name] for name in systems}


def table(figures: dict[str, list[Figures]]) -> str:
    """Return the figures as a Markdown table: medians, and the ratio to telemetry off in the same round."""
    lines = [
        "| Application Insights | requests/s | to off | spread | to released | worker, MB | dropped |",
        "| --- " * 7 + "|",
    ]
    for name, rows in figures.items():
        to_off = sorted(row.requests_s / off.requests_s for row, off in zip(rows, figures[OFF], strict=True))
        to_released = [row.requests_s / each.requests_s for row, each in zip(rows, figures[RELEASED], strict=True)]
        cells = [
            name,
            f"{statistics.median(row.requests_s for row in rows):,.0f}",
            f"{statistics.median(to_off):.3f}",
            f"{to_off[0]:.3f} to {to_off[-1]:.3f}",
            f"{statistics.median(to_released):.2f}",
            f"{statistics.median(row.worker_mb for row in rows):.0f}",
            f"{statistics.median(row.dropped for row in rows):,.0f}" if name != RELEASED else "not told",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--release", type=Path, required=True, help="Python of the environment of the released server")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--connections", type=int, default=16)
    parser.add_argument("--seconds", type=int, default=5, help="length of each load")
    parser.add_argument("--output", type=Path, default=HERE / "telemetry.md")
    options = parser.parse_args()
    figures = run(options.release, options.rounds, options.connections, options.seconds)
    page = (
        "# What telemetry costs\n\n"
        f"Made by `python bench/telemetry.py --rounds {options.rounds} --connections {options.connections} "
        f"--seconds {options.seconds}`, {os.cpu_count()} processors, Python {sys.version.split()[0]}; client, server "
        "and ingestion endpoint on one machine, one worker, a trivial `run()`.\n"
        "The endpoint takes everything, never answers, or refuses connections, for the whole of each load.\n"
        "Only the ratios count; they are the median and the range of the rounds.\n\n"
        f"{table(figures)}\n"
    )
    options.output.write_text(page, "utf-8")
    print(page)


if __name__ == "__main__":
    main()
