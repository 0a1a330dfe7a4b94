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

from bench import HERE, Running, System, requests_per_second, serving, worker_mb

KEY = "00000000-0000-0000-0000-000000000000"
OFF, TAKES, HANGS, REFUSES, RELEASED = "off", "on", "hangs", "refuses", "released server 1.5.1, on"


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


class Measured:
    """A server that stays up while others are measured, so that rounds can be short and close together.

    Args:
        command: how to start it.
        env: what to add to its environment.

    Attributes:
        rounds: requests/s of each round.
        worker_mb: memory of its worker after the last round, in MB.
        dropped: how many records it said at its end that were dropped.
    """

    def __init__(self, command: list[str], env: dict[str, str]) -> None:
        self.rounds: list[float] = []
        self.worker_mb = 0.0
        self.dropped = 0
        self._command = command
        self._env = env
        self._running: Running

    @contextlib.contextmanager
    def up(self) -> Iterator[None]:
        """Have it up."""
        with tempfile.NamedTemporaryFile("r", suffix=".log") as log:
            assigned = [f"{name}={value}" for name, value in self._env.items()]
            shell = ["sh", "-c", f'exec "$@" >{log.name} 2>&1', "sh"]
            command = ["env", *assigned, *shell, *self._command]
            with serving(System(self._command[0], command), HERE / "trivial.py") as self._running:
                yield
                self.worker_mb = worker_mb(self._running)
            dropped = re.search(r"(\d+) records of telemetry were dropped", log.read())
            self.dropped = int(dropped[1]) if dropped else 0

    def load(self, connections: int, seconds: int) -> float:
        """Return the requests/s of one load."""
        return requests_per_second(self._running, connections, seconds)


def run(release: Path, rounds: int, connections: int, seconds: int) -> dict[str, Measured]:
    """Return the figures of each system, which take turns."""
    ours = [sys.executable, "-m", "azmlinfsrv"]
    theirs = [str(release.absolute()), "-m", "azureml_inference_server_http"]
    with contextlib.ExitStack() as stack:
        closed = stack.enter_context(socket.socket())
        closed.bind(("127.0.0.1", 0))
        takes, hangs = stack.enter_context(endpoint("takes")), stack.enter_context(endpoint("hangs"))
        refuses = f"http://127.0.0.1:{closed.getsockname()[1]}"
        systems = {
            OFF: Measured(ours, {}),
            HANGS: Measured(ours, variables(hangs)),
            REFUSES: Measured(ours, variables(refuses)),
            TAKES: Measured(ours, variables(takes)),
            RELEASED: Measured(theirs, variables(takes)),
        }
        for system in systems.values():
            stack.enter_context(system.up())
            system.load(connections, seconds)
        names = list(systems)
        for number in range(rounds):
            turn = number % len(names)
            for name in names[turn:] + names[:turn]:
                found = systems[name].load(connections, seconds)
                systems[name].rounds.append(found)
                print(f"{name}: {found:,.0f} requests/s", flush=True)
    return systems


def table(systems: dict[str, Measured]) -> str:
    """Return the figures as a Markdown table: medians, and the ratio to telemetry off in the same round."""
    lines = [
        "| Application Insights | requests/s | to off | quartiles | to released | worker, MB | dropped |",
        "| --- " * 7 + "|",
    ]
    off, released = systems[OFF].rounds, systems[RELEASED].rounds
    for name, system in systems.items():
        to_off = [rate / each for rate, each in zip(system.rounds, off, strict=True)]
        to_released = [rate / each for rate, each in zip(system.rounds, released, strict=True)]
        lower, middle, upper = statistics.quantiles(to_off, n=4)
        cells = [
            name,
            f"{statistics.median(system.rounds):,.0f}",
            f"{middle:.3f}",
            f"{lower:.3f} to {upper:.3f}",
            f"{statistics.median(to_released):.2f}",
            f"{system.worker_mb:.0f}",
            f"{system.dropped:,.0f}" if name != RELEASED else "not told",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--release", type=Path, required=True, help="Python of the environment of the released server")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--connections", type=int, default=16)
    parser.add_argument("--seconds", type=int, default=2, help="length of each load")
    parser.add_argument("--output", type=Path, default=HERE / "telemetry.md")
    options = parser.parse_args()
    figures = run(options.release, options.rounds, options.connections, options.seconds)
    page = (
        "# What telemetry costs\n\n"
        f"Made by `python bench/telemetry.py --rounds {options.rounds} --connections {options.connections} "
        f"--seconds {options.seconds}`, {os.cpu_count()} processors, Python {sys.version.split()[0]}; client, server "
        "and ingestion endpoint on one machine, one worker, a trivial `run()`.\n"
        "The endpoint takes everything, never answers, or refuses connections, for the whole of each load.\n"
        "The servers take turns. Only the ratios count; they are the median and the quartiles of the rounds.\n\n"
        f"{table(figures)}\n"
    )
    options.output.write_text(page, "utf-8")
    print(page)


if __name__ == "__main__":
    main()
