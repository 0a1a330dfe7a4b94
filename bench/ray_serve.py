"""The server as a deployment of Ray Serve: what it costs beside a bare one, and what clients see of faults.

Run from the project's folder: ``python -m bench.ray_serve > bench/ray.md``. It installs Ray into an environment of its
own and starts a cluster of one machine; `scripts/test --ray` tells how to keep it off the network.
"""

from __future__ import annotations

import argparse
import os
import platform
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import psutil

from tests.ray.cluster import RAY, Cluster, application, programs
from tests.ray.load import Clients

HERE = Path(__file__).resolve().parent
VERSIONED = """
import os, time
VERSION = os.environ.get("SERVICE_VERSION", "")
def init():
    time.sleep(1)
def run(data):
    return VERSION
"""
CONNECTIONS = 16
BODY = '{"data": [1, 2, 3]}'


class Fault(NamedTuple):
    """What clients saw of a fault.

    Attributes:
        what: what was done.
        answers: how many answers of 200 they had meanwhile.
        others: what else they saw.
        away_s: the longest time without an answer of 200.
        slowest_s: the longest time that a request took.
        again_s: after how long all replicas were there again.
    """

    what: str
    answers: int
    others: dict[str, int]
    away_s: float
    slowest_s: float
    again_s: float


def say(text: str) -> None:
    """Tell whoever waits."""
    print(text, file=sys.stderr, flush=True)


def rate(url: str, seconds: int) -> float:
    """Return the requests per second that a URL answers with 200."""
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder) / "post.lua"
        script.write_text(f'wrk.method = "POST"\nwrk.body = [[{BODY}]]\n', "utf-8")
        command = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", "-s", str(script), url]
        text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    if "Non-2xx" in text:
        raise RuntimeError(text)
    return float(next(line.split()[1] for line in text.splitlines() if line.startswith("Requests/sec")))


class Load(NamedTuple):
    """What a load found.

    Attributes:
        rate: requests per second.
        replica_ms: processor time of the replica for each request, in milliseconds.
    """

    rate: float
    replica_ms: float


def load(cluster: Cluster, name: str, url: str, seconds: int) -> Load:
    """Load an application of one replica."""
    (pid,) = cluster.pids(name)
    before, began = sum(psutil.Process(pid).cpu_times()[:2]), time.perf_counter()
    found = rate(url, seconds)
    used_s, took_s = sum(psutil.Process(pid).cpu_times()[:2]) - before, time.perf_counter() - began
    return Load(found, used_s / (found * took_s) * 1000)


def compare(cluster: Cluster, rounds: int, seconds: int) -> list[tuple[Load, Load]]:
    """Return what is found of ours and of a bare deployment, one replica each, alternating."""
    bare: dict[str, Any] = {
        "name": "bare",
        "route_prefix": "/bare",
        "import_path": "ray_bare:app",
        "runtime_env": {"env_vars": {"PYTHONPATH": str(HERE)}},
    }
    cluster.deploy(application("ours", entry_script=str(HERE / "trivial.py")), bare)
    cluster.wait_running("ours")
    cluster.wait_running("bare")
    sides = ("ours", f"{cluster.address}/ours/score"), ("bare", f"{cluster.address}/bare")
    for _, url in sides:
        rate(url, 2)
    pairs = []
    for number in range(rounds):
        order = (0, 1) if number % 2 else (1, 0)
        found = {side: load(cluster, *sides[side], seconds) for side in order}
        pairs.append((found[0], found[1]))
        say(f"round {number + 1}: ours {found[0]}, bare {found[1]}")
    cluster.remove("ours", "bare")
    return pairs


def scale(cluster: Cluster, seconds: int) -> list[tuple[int, float]]:
    """Return requests per second by the number of replicas, of a model that waits 20 ms."""
    found = []
    for replicas in (1, 2, 3):
        cluster.deploy(application("slow", entry_script=str(HERE / "waiting.py"), num_replicas=replicas))
        cluster.wait_running("slow")
        cluster.wait(lambda number=replicas: len(cluster.pids("slow")) == number, "replicas are missing")  # type: ignore[misc]
        found.append((replicas, rate(f"{cluster.address}/slow/score", seconds)))
        say(f"{replicas} replicas: {found[-1][1]:.0f} requests/s")
    cluster.remove("slow")
    return found


def fault(cluster: Cluster, script: Path, what: str, happen: Callable[[list[int]], Callable[[], object]]) -> Fault:
    """Have something happen to an application of two replicas under load.

    Args:
        cluster: the cluster.
        script: the script.
        what: what happens.
        happen: does it, and returns what says whether all is well again.
    """
    cluster.deploy(versioned(script, "1"))
    cluster.wait_running("faults")
    cluster.wait(lambda: len(cluster.pids("faults")) == 2, "replicas are missing")
    clients = Clients(f"{cluster.address}/faults/score", BODY, 8)
    with clients.busy():
        clients.wait_for(200)
        began = time.perf_counter()
        is_well = happen(cluster.pids("faults"))
        cluster.wait(is_well, what)
        again_s = time.perf_counter() - began
        clients.wait_for(200)
    cluster.remove("faults")
    say(f"{what}: {dict(clients.seen)}, away {clients.away_s:.2f} s, again {again_s:.1f} s")
    return Fault(what, clients.seen["200"], clients.others, clients.away_s, clients.slowest_s, again_s)


def versioned(script: Path, version: str) -> dict[str, Any]:
    """Return the application whose `run()` returns a version."""
    return application("faults", env={"SERVICE_VERSION": version}, entry_script=str(script), num_replicas=2)


def faults(cluster: Cluster, folder: Path) -> list[Fault]:
    """Return what clients see of a killed replica and of a roll-out."""
    script = folder / "versioned.py"
    script.write_text(VERSIONED, "utf-8")

    def kill(pids: list[int]) -> Callable[[], object]:
        os.kill(pids[0], signal.SIGKILL)
        return lambda: len({*cluster.pids("faults")} - {pids[0]}) == 2

    def roll_out(pids: list[int]) -> Callable[[], object]:
        cluster.deploy(versioned(script, "2"))
        return lambda: len(now := {*cluster.pids("faults")}) == 2 and not now & {*pids}

    return [
        fault(cluster, script, "kill -9 of one of two replicas", kill),
        fault(cluster, script, "roll-out of a changed script", roll_out),
    ]


def report(pairs: list[tuple[Load, Load]], scaled: list[tuple[int, float]], seen: list[Fault], command: str) -> str:
    """Return the page."""
    ratios = [ours.rate / bare.rate for ours, bare in pairs]
    python = platform.python_version()
    lines = [
        "# Ray Serve",
        "",
        f"Made by `{command}`, {os.cpu_count()} processors, Python {python}, `{RAY}`; clients, Ray's head node, its "
        "proxy and the replicas on one machine.",
        "",
        "## Beside a bare deployment",
        "",
        f"One replica each, a trivial `run()`, {CONNECTIONS} connections, in turns; the aim is a ratio of 1.0 or more.",
        "The bare one (`bench/ray_bare.py`) reads the body and calls the same `run()` on its event loop: "
        "no ids, limits, deadlines, metrics or log lines.",
        "",
        "| round | ours, requests/s | bare, requests/s | ratio | replica, ms of processor a request: ours | bare |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for number, ((ours, bare), ratio) in enumerate(zip(pairs, ratios, strict=True), 1):
        times = f"{ours.replica_ms:.2f} | {bare.replica_ms:.2f}"
        lines.append(f"| {number} | {ours.rate:.0f} | {bare.rate:.0f} | {ratio:.2f} | {times} |")
    ours, bare = (Load(*map(statistics.median, zip(*side, strict=True))) for side in zip(*pairs, strict=True))
    times = f"{ours.replica_ms:.2f} | {bare.replica_ms:.2f}"
    lines += [
        f"| median | {ours.rate:.0f} | {bare.rate:.0f} | {statistics.median(ratios):.2f} | {times} |",
        "",
        "## More replicas",
        "",
        f"A `run()` that waits 20 ms, {CONNECTIONS} connections: a replica can answer 50 requests a second.",
        "",
        "| replicas | requests/s |",
        "| --- | --- |",
        *(f"| {replicas} | {found:.0f} |" for replicas, found in scaled),
        "",
        "## Faults",
        "",
        "Two replicas whose `init()` takes a second, 8 clients that post all the time.",
        "Away is the longest time without any answer of 200; again is when both replicas are there, new where they "
        "have to be.",
        "",
        "| what happens | answers of 200 | others | away, s | slowest request, s | again, s |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for each in seen:
        others = ", ".join(f"{number} {what}" for what, number in each.others.items()) or "none"
        times = f"{each.away_s:.2f} | {each.slowest_s:.2f} | {each.again_s:.1f}"
        lines.append(f"| {each.what} | {each.answers:,} | {others} | {times} |")
    return "\n".join(lines)


def main() -> None:
    """Measure, and print the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--seconds", type=int, default=5)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, Cluster(programs()) as cluster:
        pairs = compare(cluster, given.rounds, given.seconds)
        scaled = scale(cluster, given.seconds)
        seen = faults(cluster, Path(folder))
    command = f"python -m bench.ray_serve --rounds {given.rounds} --seconds {given.seconds}"
    print(report(pairs, scaled, seen, command))


if __name__ == "__main__":
    main()
