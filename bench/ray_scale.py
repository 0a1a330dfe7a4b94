"""What Ray Serve's own parts cost, by the number of replicas: from this follows what many machines would need.

Run from the project's folder: ``PYTHONPATH=. python bench/ray_scale.py > bench/ray_scale.md``. The replicas are many on
one machine and mostly idle: what is counted is the processor time of the controller, the proxy and Ray's other
processes.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import psutil
from ray_serve import rate, say

from tests.ray.cluster import RAY, Cluster, application, programs

HERE = Path(__file__).resolve().parent
MEGABYTE = 1_000_000
SETTLE_S = 15
# What a process of Ray is to the reader, by what its name begins with.
PARTS = {
    "ray::ServeController": "controller",
    "ray::ProxyActor": "proxy",
    "ray::ServeReplica": "replicas",
    "gcs_server": "control store",
    "raylet": "raylet",
}
REST = "rest"


class Idle(NamedTuple):
    """What the parts need while nobody calls.

    Attributes:
        replicas: how many there are.
        check_s: seconds between two health checks of each.
        scales: whether they are scaled automatically.
        used: milliseconds of processor a second, by part.
        replica_mb: memory of a replica that it shares with nobody, in MB; the median.
    """

    replicas: int
    check_s: int
    scales: bool
    used: dict[str, float]
    replica_mb: float


class Busy(NamedTuple):
    """What the parts need for a request.

    Attributes:
        replicas: how many there are.
        rate: requests per second.
        used: milliseconds of processor a request, by part.
    """

    replicas: int
    rate: float
    used: dict[str, float]


def part(process: psutil.Process) -> str:
    """Return what a process is."""
    title = os.path.basename(next(iter(process.cmdline()), ""))
    return next((name for begin, name in PARTS.items() if title.startswith(begin)), REST)


def members(cluster: Cluster) -> list[tuple[str, psutil.Process]]:
    """Return the processes of a cluster, each with what it is."""
    found = []
    for process in cluster.processes():
        try:
            found.append((part(process), process))
        except psutil.NoSuchProcess:
            continue
    return found


def used_s(cluster: Cluster) -> Counter[str]:
    """Return the processor time that the parts have used, in seconds."""
    used: Counter[str] = Counter()
    for name, process in members(cluster):
        try:
            used[name] += sum(process.cpu_times()[:2])  # type: ignore[assignment] # Counter takes any number
        except psutil.NoSuchProcess:
            continue
    return used


def unshared_mb(cluster: Cluster) -> float:
    """Return the median memory of a replica that no other process shares, in MB."""
    return statistics.median(
        process.memory_full_info().uss / MEGABYTE for name, process in members(cluster) if name == "replicas"
    )


def deploy(cluster: Cluster, replicas: int, check_s: int, *, scales: bool) -> None:
    """Bring an application to a number of replicas, and wait until they are there."""
    number = {"min_replicas": replicas, "max_replicas": replicas} if scales else {"num_replicas": replicas}
    options: dict[str, Any] = {"health_check_period_s": check_s, "num_cpus": 0.01, **number}
    cluster.deploy(application("scaled", entry_script=str(HERE / "trivial.py"), **options))
    cluster.wait(lambda: cluster.status("scaled") == "RUNNING", "the application does not run")
    cluster.wait(lambda: len(cluster.pids("scaled")) == replicas, "replicas are missing")


def idle(cluster: Cluster, replicas: int, check_s: int, seconds: int, *, scales: bool) -> Idle:
    """Return what the parts need while nobody calls."""
    deploy(cluster, replicas, check_s, scales=scales)
    time.sleep(SETTLE_S)  # what a start leaves behind is done by then
    before, began = used_s(cluster), time.perf_counter()
    time.sleep(seconds)
    after, took_s = used_s(cluster), time.perf_counter() - began
    used = {name: (after[name] - before[name]) / took_s * 1000 for name in (*PARTS.values(), REST)}
    found = Idle(replicas, check_s, scales, used, unshared_mb(cluster))
    say(str(found))
    return found


def busy(cluster: Cluster, replicas: int, seconds: int) -> Busy:
    """Return what the parts need for a request."""
    url = f"{cluster.address}/scaled/score"
    rate(url, 2)
    before, began = used_s(cluster), time.perf_counter()
    found = rate(url, seconds)
    after, took_s = used_s(cluster), time.perf_counter() - began
    used = {name: (after[name] - before[name]) / (found * took_s) * 1000 for name in (*PARTS.values(), REST)}
    say(f"{replicas}: {found}, {used}")
    return Busy(replicas, found, used)


def report(idles: list[Idle], busies: list[Busy], command: str) -> str:
    """Return the page."""
    parts, rules = " | ".join((*PARTS.values(), REST)), " | ".join("---" for _ in (*PARTS, REST))
    lines = [
        "# Ray Serve: what its own parts cost",
        "",
        f"Made by `{command}`, {os.cpu_count()} processors, Python {platform.python_version()}, `{RAY}`; "
        "one machine, one proxy, a `run()` that does nothing.",
        "The control store is one for a cluster, a raylet is on each machine; the rest are the dashboard and agents.",
        "",
        "## While nobody calls",
        "",
        "Milliseconds of processor a second, of all processes of a part; memory that a replica shares with nobody.",
        "",
        f"| replicas | checked every, s | autoscaling | {parts} | MB a replica |",
        f"| --- | --- | --- | {rules} | --- |",
    ]
    for each in idles:
        used = " | ".join(f"{each.used[name]:.0f}" for name in (*PARTS.values(), REST))
        scales = "yes" if each.scales else "no"
        lines.append(f"| {each.replicas} | {each.check_s} | {scales} | {used} | {each.replica_mb:.0f} |")
    lines += [
        "",
        "## For each request",
        "",
        "Milliseconds of processor a request, 16 connections.",
        "",
        f"| replicas | requests/s | {parts} |",
        f"| --- | --- | {rules} |",
    ]
    for load in busies:
        used = " | ".join(f"{load.used[name]:.2f}" for name in (*PARTS.values(), REST))
        lines.append(f"| {load.replicas} | {load.rate:.0f} | {used} |")
    return "\n".join(lines)


def main() -> None:
    """Measure, and print the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--replicas", type=int, nargs="+", default=[1, 8, 24])
    parser.add_argument("--seconds", type=int, default=30)
    given = parser.parse_args()
    idles, busies = [], []
    with Cluster(programs()) as cluster:
        for replicas in given.replicas:
            idles.append(idle(cluster, replicas, 2, given.seconds, scales=False))
            busies.append(busy(cluster, replicas, 10))
        most = max(given.replicas)
        idles.append(idle(cluster, most, 10, given.seconds, scales=False))
        idles.append(idle(cluster, most, 10, given.seconds, scales=True))
    print(report(idles, busies, " ".join(["PYTHONPATH=. python bench/ray_scale.py", *sys.argv[1:]])))


if __name__ == "__main__":
    main()
