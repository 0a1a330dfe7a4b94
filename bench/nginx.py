"""What nginx in front costs and what it is good for: requests/s through it and direct, without and with slow clients.

The servers take turns, in several rounds; only ratios within one run count. The aims: at least 0.6 of the direct
requests/s through nginx, and at least 0.9 of the requests/s with 1,000 slow clients, with nginx and without.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from bench import HERE, Running, System, free_port, requests_per_second, serving

DIRECT, NGINX, UNIX = "direct", "nginx", "nginx, by a Unix socket"
SLOW_CLIENTS = 1000
LOADS = (16, 64)
# What is measured: the servers against each other; then each of two without and with slow clients.
TURN, WITHOUT, WITH = "", "without slow clients", "with slow clients"
# Requests/s of each round, by server, number of connections, and one of these.
Figures = dict[tuple[str, int, str], list[float]]


def cpu_s(pid: int) -> float:
    """Return the processor time of a process, in seconds."""
    fields = Path(f"/proc/{pid}/stat").read_text("ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class SlowLoad:
    """Slow clients in a process of their own, while others are measured.

    Attributes:
        shares: of one processor, that they took in each round.
        again: how many connections had to be made again.
    """

    def __init__(self) -> None:
        self.shares: list[float] = []
        self.again = 0

    @contextlib.contextmanager
    def present(self, port: int) -> Iterator[None]:
        """Have them there."""
        command = [sys.executable, str(HERE / "slow.py"), str(port), str(SLOW_CLIENTS)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            if process.stdout is None or process.stdout.readline() != "ready\n":
                raise RuntimeError("the slow clients cannot connect")
            began, used = time.perf_counter(), cpu_s(process.pid)
            yield
            self.shares.append((cpu_s(process.pid) - used) / (time.perf_counter() - began))
            if process.poll() is not None:
                raise RuntimeError("the slow clients ended")
            process.terminate()
            self.again += process.stdout.read().count("again")
        time.sleep(0.5)  # the server sees the ends of a thousand connections


def measure(rounds: int, seconds: int) -> tuple[Figures, SlowLoad]:
    """Return the figures of each server, which stay up and take turns, and the slow clients."""
    ours = [sys.executable, "-m", "azmlinfsrv"]
    figures: Figures = {}
    slow = SlowLoad()

    def note(name: str, running: Running, connections: int, what: str) -> None:
        found = requests_per_second(running, connections, seconds)
        figures.setdefault((name, connections, what), []).append(found)
        print(f"{name}, {connections} connections {what}: {found:,.0f}", flush=True)

    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        Path(folder).chmod(0o711)  # nginx's workers are another user's where root starts it
        addresses = {NGINX: f"127.0.0.1:{free_port()}", UNIX: f"unix:{folder}/server.sock"}
        commands = {DIRECT: ours} | {
            name: [*ours, "--nginx", "--server_address", address] for name, address in addresses.items()
        }
        servers = {
            name: stack.enter_context(serving(System(name, command), HERE / "trivial.py"))
            for name, command in commands.items()
        }
        for running in servers.values():
            requests_per_second(running, LOADS[0], 1)
        names = list(servers)
        for number in range(rounds):
            turn = number % len(names)
            for connections in LOADS:
                for name in names[turn:] + names[:turn]:
                    note(name, servers[name], connections, TURN)
            for name in (DIRECT, NGINX) if number % 2 else (NGINX, DIRECT):
                for what in (WITHOUT, WITH) if number // 2 % 2 else (WITH, WITHOUT):
                    with slow.present(servers[name].port) if what is WITH else contextlib.nullcontext():
                        note(name, servers[name], LOADS[0], what)
    return figures, slow


def row(label: str, rates: list[float], others: list[float]) -> str:
    """Return a row of a table: medians, and the ratio to the others of the same round, with its quartiles."""
    lower, middle, upper = statistics.quantiles([a / b for a, b in zip(rates, others, strict=True)], n=4)
    medians = f"{statistics.median(others):,.0f} | {statistics.median(rates):,.0f}"
    return f"| {label} | {medians} | {middle:.2f} | {lower:.2f} to {upper:.2f} |"


def tables(figures: Figures, slow: SlowLoad) -> str:
    """Return the figures as Markdown."""
    lines = ["| | direct, requests/s | through it | ratio | quartiles |", "| --- " * 5 + "|"]
    for name in (NGINX, UNIX):
        for connections in LOADS:
            rates, direct = figures[name, connections, TURN], figures[DIRECT, connections, TURN]
            lines.append(row(f"{name}, {connections} connections", rates, direct))
    lines += ["", "| | without slow clients, requests/s | with them | ratio | quartiles |", "| --- " * 5 + "|"]
    for name in (NGINX, DIRECT):
        rates, without = figures[name, LOADS[0], WITH], figures[name, LOADS[0], WITHOUT]
        lines.append(row(f"{name}, {LOADS[0]} connections", rates, without))
    share = f"{100 * statistics.median(slow.shares):.1f} % of one processor ({100 * max(slow.shares):.1f} % at most)"
    lines += ["", f"The slow clients themselves took {share}; {slow.again} of their connections had to be made again."]
    return "\n".join(lines)


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--seconds", type=int, default=2, help="length of each load")
    parser.add_argument("--output", type=Path, default=HERE / "nginx.md")
    options = parser.parse_args()
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    figures, slow = measure(options.rounds, options.seconds)
    page = (
        "# What nginx in front costs, and slow clients\n\n"
        f"Made by `python bench/nginx.py --rounds {options.rounds} --seconds {options.seconds}`, {os.cpu_count()} "
        f"processors, Python {sys.version.split()[0]}; clients, nginx and server on one machine, default logging to a "
        "file, one worker, a trivial `run()`.\n"
        f"There are {SLOW_CLIENTS:,} slow clients, each of which sends a byte every four seconds, half of them of a "
        "header block and half of a body.\n"
        "The servers take turns. Only the ratios count; they are the median and the quartiles of the rounds. "
        "The aims: 0.6 through nginx, 0.9 with slow clients.\n\n"
        f"{tables(figures, slow)}\n"
    )
    options.output.write_text(page, "utf-8")
    print(page)


if __name__ == "__main__":
    main()
