"""What becomes of three times as many requests as a server can answer: those it takes, and those it refuses.

Capacity is what wrk finds first, with few connections. Then requests come at a rate that does not wait for answers, and
latency counts from when each was meant to be sent. The aims: of the requests that are taken 99 % are answered within
twice the longest wait and the time of run(), refusals come within 50 ms, and as many are answered as without overload.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import NamedTuple

from bench import HERE, POST, System, requests_per_second, serving

TIMES = 3.0
WAIT_MS = 200
REFUSAL_MS = 50.0
SHARE = 0.9


class Case(NamedTuple):
    """What is measured.

    Attributes:
        label: how the table calls it.
        source: the script.
        run_ms: how long ``run()`` takes.
        connections: with how many wrk finds the capacity.
        options: options of the server.
    """

    label: str
    source: str
    run_ms: float
    connections: int
    options: tuple[str, ...] = ()


SLEEPS = "import time\ndef init(): pass\ndef run(data):\n    time.sleep(0.02)\n    return data\n"
AWAITS = "import asyncio\ndef init(): pass\nasync def run(data):\n    await asyncio.sleep(0.02)\n    return data\n"
SPINS = (
    "import time\ndef init(): pass\ndef run(data):\n"
    "    end = time.perf_counter() + 0.005\n    while time.perf_counter() < end: pass\n    return data\n"
)
CASES = (
    Case("waits 20 ms", SLEEPS, 20, 4),
    Case("waits 20 ms, 2 workers", SLEEPS, 20, 8, ("--worker_count", "2")),
    Case("waits 20 ms, 4 threads", SLEEPS, 20, 12, ("--worker_threads", "4")),
    Case("`async`, waits 20 ms, 4 at a time", AWAITS, 20, 12, ("--async_limit", "4")),
    Case("waits 20 ms, batches of 8", SLEEPS, 20, 32, ("--max_batch_size", "8")),
    Case("computes 5 ms in Python", SPINS, 5, 4),
)


class Seen(NamedTuple):
    """What clients saw of one load.

    Attributes:
        capacity: answers a second without overload.
        found: what open_loop.py printed.
    """

    capacity: float
    found: dict[str, float]


def wait_for_workers(port: int, case: Case) -> None:
    """Wait until all workers serve, not only the first."""
    wanted = (
        f"azmlinfsrv_workers_up {dict(zip(case.options, case.options[1:], strict=False)).get('--worker_count', '1')}\n"
    )
    while wanted not in urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10).read().decode():
        time.sleep(0.05)


def load(case: Case, limits: tuple[str, ...], seconds: int) -> Seen:
    """Return what clients saw of one case with these limits."""
    with tempfile.TemporaryDirectory() as folder:
        script, body = Path(folder) / "score.py", Path(folder) / "body"
        script.write_text(case.source, "utf-8")
        body.write_text(POST.partition("wrk.body='")[2].partition("'")[0], "utf-8")
        command = [sys.executable, "-m", "azmlinfsrv", *case.options]
        with serving(System(case.label, command), script) as running:
            wait_for_workers(running.port, case)
            capacity = requests_per_second(running, case.connections, 4)
        with serving(System(case.label, [*command, *limits]), script) as running:
            wait_for_workers(running.port, case)
            rate = f"{TIMES * capacity:.1f}"
            client = [
                sys.executable,
                str(HERE / "open_loop.py"),
                str(running.port),
                "/score",
                str(body),
                "--rate",
                rate,
            ]
            client += ["--seconds", str(seconds)]
            printed = subprocess.run(client, check=True, capture_output=True, text=True).stdout
    return Seen(capacity, json.loads(printed))


def line(label: str, run_ms: float, seen: Seen, is_limited: bool) -> str:
    """Return a line of the table."""
    found, bound_ms = seen.found, 2 * WAIT_MS + run_ms
    share = found["requests_per_s"] / seen.capacity
    kept = [found["p99_ms"] <= bound_ms, found["refusal_p99_ms"] <= REFUSAL_MS, share >= SHARE]
    refused = found["refusals"] / (found["refusals"] + found["requests_per_s"] * found["seconds"])
    cells = [
        label,
        f"{seen.capacity:,.0f}",
        f"{share:.2f}" if is_limited else "",
        f"{found['p50_ms']:,.0f}",
        f"{found['p99_ms']:,.0f}",
        f"{bound_ms:,.0f}" if is_limited else "",
        f"{refused:.0%}",
        f"{found['refusal_p99_ms']:.1f}" if is_limited else "",
        f"{found['refusal_most_ms']:.1f}" if is_limited else "",
        f"{found['errors'] - found['refusals']:.0f}",
        ("all" if all(kept) else "not all") if is_limited else "",
    ]
    return f"| {' | '.join(cells)} |"


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=8, help="length of each load")
    parser.add_argument("--output", type=Path, default=HERE / "overload.md")
    options = parser.parse_args()
    head = (
        "`run()`", "answers/s it can", "share of them", "p50, ms", "p99, ms", "aim", "refused", "p99, ms",
        "longest, ms", "without an answer", "aims kept",
    )  # fmt: skip
    lines = [f"| {' | '.join(head)} |", "| --- " * len(head) + "|"]
    limits = ("--max_queue_wait_ms", str(WAIT_MS))
    for case in CASES:
        seen = load(case, limits, options.seconds)
        seen.found["seconds"] = options.seconds
        lines.append(line(case.label, case.run_ms, seen, is_limited=True))
        print(lines[-1], flush=True)
    seen = load(CASES[0], (), options.seconds)
    seen.found["seconds"] = options.seconds
    lines.append(line(f"{CASES[0].label}, without a longest wait", CASES[0].run_ms, seen, is_limited=False))
    print(lines[-1], flush=True)
    table = "\n".join(lines)
    page = (
        "# Three times too much\n\n"
        f"Made by `python bench/overload.py --seconds {options.seconds}`, {os.cpu_count()} processors, Python "
        f"{sys.version.split()[0]}; client and server on one machine.\n"
        f"For {options.seconds} seconds requests come {TIMES:.0f} times as fast as the server can answer, whether it "
        f"does or not, with `--max_queue_wait_ms {WAIT_MS}`.\n"
        f"The aims: the share of answers is at least {SHARE}, 99 % of the answers come within twice the longest wait "
        f"and the time of `run()`, and 99 % of the refusals within {REFUSAL_MS:.0f} ms.\n\n"
        f"{table}\n"
    )
    options.output.write_text(page, "utf-8")


if __name__ == "__main__":
    main()
