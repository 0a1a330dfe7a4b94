"""Serves mixed requests for a long time; fails where memory or descriptors grow, or an answer is not what it must be.

70 % of what the server can do is asked of it: numbers to add, calls that fail, streams, clients that leave, requests
that are not valid, and now and then a call that runs into the scoring timeout. In the first half the script is loaded
again, four times or more, and a worker is killed. In the second half nothing is replaced, so that growth of the workers
can be seen.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import psutil
from soak_clients import SoakClients
from soak_samples import Sample, Verdict, judge, sample

from bench import HERE, Running, System, free_port, serving

WORKERS = 2
SHARE = 0.7
SETTINGS = {"SCORING_TIMEOUT_MS": "2000", "WORKER_COUNT": str(WORKERS), "PYTHONWARNINGS": "error"}
# When the script is loaded again, and a worker killed, as shares of the whole time.
FIRST_RELOAD, LAST_RELOAD = 0.06, 0.24
RELOAD_PERIOD_S = 20.0
KILL = 0.30
_TICK_S = 0.1


def soak(seconds: float, *, nginx: bool) -> tuple[SoakClients, list[Sample], float]:
    """Serve for so long; return the clients, what was sampled, and the requests/s that were asked for."""
    command = ["env", *(f"{name}={value}" for name, value in SETTINGS.items()), sys.executable, "-m", "azmlinfsrv"]
    command += ["--nginx", "--server_address", f"127.0.0.1:{free_port()}"] if nginx else []
    with serving(System("the server", command), HERE / "soak_score.py") as running:
        clients = SoakClients(running.port)
        rate = SHARE * clients.capacity(min(5.0, seconds / 8))
        samples: list[Sample] = []
        with clients.asking(rate):
            _watch(running, seconds, samples, clients)
        clients.check()
        return clients, samples, rate


def reloads(seconds: float) -> list[float]:
    """Return when the script is loaded again, as shares of the whole time."""
    span = LAST_RELOAD - FIRST_RELOAD
    count = max(4, int(seconds * span / RELOAD_PERIOD_S))
    return [FIRST_RELOAD + span * number / (count - 1) for number in range(count)]


def _watch(running: Running, seconds: float, samples: list[Sample], clients: SoakClients) -> None:
    """Sample, reload and kill at their times."""

    def kill() -> None:
        clients.disturb()
        _kill_worker(running.pid)

    begun = time.perf_counter()
    events: list[tuple[float, Callable[[], None]]] = [
        *((share, lambda: os.kill(running.pid, signal.SIGHUP)) for share in reloads(seconds)),
        (KILL, kill),
    ]
    period = max(0.25, seconds / 400)
    due = 0.0
    while (elapsed := time.perf_counter() - begun) < seconds:
        if events and elapsed >= events[0][0] * seconds:
            events.pop(0)[1]()
        if elapsed >= due:
            due = elapsed + period
            samples.append(sample(running.pid, elapsed / seconds))
        threading.Event().wait(_TICK_S)


def _kill_worker(pid: int) -> None:
    """Kill the oldest process that has no children, and is not nginx's."""
    for _ in range(50):
        try:
            leaves = [child for child in psutil.Process(pid).children(recursive=True) if not child.children()]
            servers = [leaf for leaf in leaves if "nginx" not in leaf.name()]
            min(servers, key=lambda leaf: leaf.create_time()).kill()
        except psutil.NoSuchProcess:
            continue  # one that a reload had replaced has just ended
        return
    raise RuntimeError("there is no worker to kill")


def page(clients: SoakClients, verdict: Verdict, rate: float, seconds: float, *, nginx: bool) -> str:
    """Return what was found as Markdown."""
    rows = "\n".join(f"| {what} | {count:,} |" for what, count in sorted(clients.seen.items()) if count)
    problems = "\n".join(f"- {problem}" for problem in [*verdict.problems, *clients.problems]) or "- none"
    return (
        "# A long run\n\n"
        f"Made by `scripts/soak`: {seconds / 60:.1f} minutes at {rate:.0f} requests/s, {SHARE:.0%} of what {WORKERS} "
        f"workers could do{' behind nginx' if nginx else ''}, with {len(reloads(seconds))} reloads and a killed worker "
        f"in the first half; {os.cpu_count()} processors, Python {sys.version.split()[0]}.\n\n"
        f"| what clients did and saw | times |\n| --- | --- |\n{rows}\n\n"
        f"{verdict.table}\n\nProblems:\n\n{problems}\n"
    )


def main() -> int:
    """Soak, print and write; return 1 where something is wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--nginx", action="store_true")
    parser.add_argument("--output", type=Path, default=HERE / "soak.md")
    options = parser.parse_args()
    seconds = options.minutes * 60
    clients, samples, rate = soak(seconds, nginx=options.nginx)
    verdict = judge(samples)
    text = page(clients, verdict, rate, seconds, nginx=options.nginx)
    options.output.write_text(text, "utf-8")
    print(text)
    return 1 if verdict.problems or clients.problems else 0


if __name__ == "__main__":
    sys.exit(main())
