"""What it costs to be watched: a scrape of `/metrics`, for the server and for Prometheus, and the log of a request.

Run from the project's folder: ``python bench/scrape.py > bench/scrape.md``. It needs `prometheus`, which `scripts/test`
unpacks. Many targets are one server under many names: what is counted is what each costs.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import psutil

from bench import HERE, Running, System, free_port, requests_per_second, serving

UNPACKED = HERE.parent / ".cache" / "programs" / "usr" / "bin" / "prometheus"
SCRAPES = 300
SCRAPE_INTERVAL_S = 1
READY_S = 30.0
SETTLE_S = 5
MEGABYTE = 1_000_000


def used_s(pid: int) -> float:
    """Return the processor time of a process and its children, in seconds."""
    process = psutil.Process(pid)
    return sum(sum(each.cpu_times()[:2]) for each in (process, *process.children(recursive=True)))


def metrics(port: int) -> bytes:
    """Return what a scrape gets."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30) as answer:
        text: bytes = answer.read()
    return text


def scraped(running: Running) -> list[tuple[str, str]]:
    """Return what a scrape is, and what it costs the server."""
    text = metrics(running.port)
    samples = [line for line in text.splitlines() if line and not line.startswith(b"#")]
    before = used_s(running.pid)
    for _ in range(SCRAPES):
        metrics(running.port)
    cost_ms = (used_s(running.pid) - before) / SCRAPES * 1000
    return [
        ("`/metrics` of a worker: samples", f"{len(samples)}"),
        ("bytes", f"{len(text):,}"),
        ("processor time of the server for a scrape", f"{cost_ms:.2f} ms"),
    ]


def logged(running: Running) -> list[tuple[str, str]]:
    """Return how much is logged for a request."""
    before, count = log_bytes(running.pid), answered(running.port)
    requests_per_second(running, 4, 2)
    time.sleep(1)  # lines are gathered for a moment
    requests = answered(running.port) - count
    size = (log_bytes(running.pid) - before) / requests
    return [("log of a request whose `run()` prints nothing", f"{size:.0f} bytes")]


def answered(port: int) -> float:
    """Return how many requests the server has counted."""
    wanted = b'azmlinfsrv_requests_total{route="/score"'
    return sum(float(line.split()[-1]) for line in metrics(port).splitlines() if line.startswith(wanted))


def log_bytes(pid: int) -> int:
    """Return the size of the file that a process logs to."""
    return os.stat(f"/proc/{pid}/fd/1").st_size


@contextlib.contextmanager
def prometheus(program: str, port: int, targets: int) -> Iterator[int]:
    """Run Prometheus, which asks one server as if it were many; its process id."""
    listen = free_port()
    with tempfile.TemporaryDirectory() as folder:
        config = {
            "global": {"scrape_interval": f"{SCRAPE_INTERVAL_S}s"},
            "scrape_configs": [
                {
                    "job_name": "azmlinfsrv",
                    "static_configs": [
                        {"targets": [f"127.0.0.1:{port}"], "labels": {"replica": f"{number}"}}
                        for number in range(targets)
                    ],
                }
            ],
        }
        path = Path(folder) / "prometheus.yml"
        path.write_text(json.dumps(config), "utf-8")  # which is YAML, too
        command = [program, f"--config.file={path}", f"--storage.tsdb.path={folder}/data"]
        process = subprocess.Popen(
            [*command, f"--web.listen-address=127.0.0.1:{listen}"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            wait_until_ready(process, listen)
            yield process.pid
        finally:
            process.terminate()
            process.wait()


def wait_until_ready(process: subprocess.Popen[bytes], port: int) -> None:
    """Wait until Prometheus answers.

    Raises:
        RuntimeError: it does not.
    """
    end = time.monotonic() + READY_S
    while process.poll() is None and time.monotonic() < end:
        with contextlib.suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/-/ready", timeout=1):
            return
        time.sleep(0.1)
    raise RuntimeError("Prometheus does not start")


def watched(program: str, running: Running, targets: int, seconds: int) -> tuple[float, float]:
    """Return milliseconds of Prometheus' processor for each scrape, and its memory in MB."""
    with prometheus(program, running.port, targets) as pid:
        time.sleep(SETTLE_S)
        before, began = used_s(pid), time.perf_counter()
        time.sleep(seconds)
        took_s = time.perf_counter() - began
        scrapes = took_s / SCRAPE_INTERVAL_S * targets
        return (used_s(pid) - before) / scrapes * 1000, psutil.Process(pid).memory_info().rss / MEGABYTE


def main() -> None:
    """Measure, and print the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--targets", type=int, nargs="+", default=[50, 200])
    parser.add_argument("--seconds", type=int, default=30)
    given = parser.parse_args()
    program = shutil.which("prometheus") or str(UNPACKED)
    system = System("azmlinfsrv", [sys.executable, "-m", "azmlinfsrv"])
    with serving(system, HERE / "trivial.py") as running:
        requests_per_second(running, 4, 1)
        rows = scraped(running) + logged(running)
        for targets in given.targets:
            cost_ms, memory_mb = watched(program, running, targets, given.seconds)
            rows.append((f"Prometheus, {targets} targets: processor time for a scrape", f"{cost_ms:.2f} ms"))
            rows.append(("its memory", f"{memory_mb:.0f} MB"))
    command = " ".join(["python bench/scrape.py", *sys.argv[1:]])
    print("# What it costs to be watched\n")
    print(f"Made by `{command}`, {os.cpu_count()} processors, Python {platform.python_version()}; one machine.\n")
    print("| what | |\n| --- | --- |")
    for name, value in rows:
        print(f"| {name} | {value} |")


if __name__ == "__main__":
    main()
