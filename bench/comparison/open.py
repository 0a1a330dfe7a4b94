"""Open-loop load: at a share of what each system can do, and at one rate for all."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from comparison.catalogue import BENCH, System
from comparison.measure import all_up, is_program, rotated
from comparison.servers import Server
from comparison.store import Sample, Store
from comparison.works import WORKS
from comparison.wrk import load

OPEN = "open"
CAPACITY_CONNECTIONS = 64
SHARES = (0.5, 0.9)
SAME_RATE = 500.0


def open_loop(systems: list[System], rounds: int, seconds: int, store: Store) -> None:
    """Have the systems take turns at rates that do not wait for answers."""
    servers_only = [system for system in systems if not is_program(system)]
    with all_up(WORKS[0], servers_only, store) as servers:
        capacities: dict[str, list[float]] = {}
        for _ in range(3):
            for server in servers:
                found = load(server, CAPACITY_CONNECTIONS, 1).requests_per_s
                capacities.setdefault(server.name, []).append(found)
        for number in range(rounds):
            turn = store.next_turn()
            for share in SHARES:
                for server in rotated(servers, number):
                    rate = share * statistics.median(capacities[server.name])
                    figures = at_rate(server, rate, seconds, turn)
                    store.add(Sample(OPEN, f"{share:.0%} of its capacity", server.name, turn, figures))
            for server in rotated(servers, number):
                if statistics.median(capacities[server.name]) > 1.5 * SAME_RATE:
                    figures = at_rate(server, SAME_RATE, seconds, turn)
                    store.add(Sample(OPEN, f"{SAME_RATE:.0f} requests/s", server.name, turn, figures))
    store.save()


def at_rate(server: Server, rate: float, seconds: int, seed: int) -> dict[str, float]:
    """Return what a load at that rate finds."""
    with tempfile.TemporaryDirectory() as folder:
        body = Path(folder) / "body"
        body.write_bytes(server.body.content)
        command = [sys.executable, str(BENCH / "open_loop.py"), str(server.port), server.path, str(body)]
        command += ["--rate", str(rate), "--seconds", str(seconds), "--seed", str(seed)]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
    found: dict[str, float] = json.loads(done.stdout)
    return found | {"rate": rate, "seconds": seconds}
