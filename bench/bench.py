"""Compares this server with the released one only: as in compare.py, and probes while `run()` is busy.

Only ratios within one run count: absolute figures drift with the machine.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import os
import re
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).resolve().parent
POST = 'wrk.method="POST"; wrk.body=\'{"data":[1,2,3]}\'; wrk.headers["Content-Type"]="application/json"\n'
POST_BYTES = b'POST /score HTTP/1.1\r\nHost: localhost\r\nContent-Length: 16\r\n\r\n{"data":[1,2,3]}'
PROBE = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"


class System(NamedTuple):
    """One of the servers that are compared."""

    name: str
    command: list[str]


class Running(NamedTuple):
    """A server that answers."""

    pid: int
    port: int
    start_s: float


def free_port() -> int:
    """Return a port that nothing listens on."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def probe(port: int, timeout_s: float = 30.0) -> bool:
    """Return whether ``GET /`` is answered with ``Healthy``."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout_s) as sock:
            sock.sendall(PROBE)
            answer = b""
            while piece := sock.recv(4096):
                answer += piece
    except OSError:
        return False
    return b"Healthy" in answer


@contextlib.contextmanager
def serving(system: System, script: Path) -> Iterator[Running]:
    """Run a server, with its log on a file, from its first answer to its end."""
    port = free_port()
    command = [*system.command, "--entry_script", str(script), "--port", str(port)]
    with tempfile.TemporaryFile() as log:
        begun = time.perf_counter()
        process = subprocess.Popen(command, stdout=log, stderr=log, cwd=HERE)
        try:
            while not probe(port):
                if process.poll() is not None or time.perf_counter() - begun > 60:
                    raise RuntimeError(f"{system.name} did not start")
                time.sleep(0.002)
            yield Running(process.pid, port, time.perf_counter() - begun)
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(60)


@contextlib.contextmanager
def in_threads(clients: Sequence[Callable[[], object]], done: threading.Event) -> Iterator[None]:
    """Have clients work in threads, until `done` is set at the end."""
    threads = [threading.Thread(target=client) for client in clients]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        done.set()
        for thread in threads:
            thread.join()


def requests_per_second(running: Running, connections: int, seconds: int, more: str = "") -> float:
    """Return what wrk counts on ``/score``; `more` follows in its script."""
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
        script.write(POST + more)
        script.flush()
        load = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "-s", script.name]
        url = f"http://127.0.0.1:{running.port}/score"
        printed = subprocess.run([*load, url], check=True, capture_output=True, text=True).stdout
    if "Non-2xx" in printed:
        raise RuntimeError(printed)
    found = re.search(r"Requests/sec:\s+([\d.]+)", printed)
    if found is None:
        raise RuntimeError(printed)
    return float(found[1])


def worker_mb(running: Running) -> float:
    """Return the resident memory of the worker, in MB."""
    children = Path(f"/proc/{running.pid}/task/{running.pid}/children").read_text("ascii").split()
    rollup = Path(f"/proc/{children[0]}/smaps_rollup").read_text("ascii")
    found = re.search(r"Rss:\s+(\d+) kB", rollup)
    return int(found[1]) / 1024 if found else 0.0


def probe_ms(running: Running, times: int = 9) -> float:
    """Return the longest time of a probe while ``run()`` is busy for five seconds, in ms."""
    with socket.create_connection(("127.0.0.1", running.port)) as busy:
        busy.sendall(b"POST /score HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\n\r\n5")
        time.sleep(0.3)
        taken = []
        for _ in range(times):
            begun = time.perf_counter()
            probe(running.port)
            taken.append((time.perf_counter() - begun) * 1000)
        busy.recv(4096)
    return max(taken)


BUSY = {
    "sleeps": "import time\ndef init(): pass\ndef run(data): time.sleep(float(data))\n",
    "spins": (
        "import time\ndef init(): pass\ndef run(data):\n"
        "    end = time.perf_counter() + float(data)\n    while time.perf_counter() < end: pass\n"
    ),
}


def measure(systems: list[System], rounds: int, seconds: int) -> dict[str, list[tuple[float, ...]]]:
    """Return, for each quantity, a tuple of the systems' figures a round."""
    figures: dict[str, list[tuple[float, ...]]] = {}
    script = HERE / "trivial.py"

    def alternate(name: str, figure: Callable[[Running], float], using: Path = script) -> None:
        row = []
        for system in systems:
            with serving(system, using) as running:
                row.append(figure(running))
        figures.setdefault(name, []).append(tuple(row))
        print(f"{name}: {' · '.join(f'{value:.1f}' for value in row)}", flush=True)

    for _ in range(rounds):
        for connections in (1, 16, 64):
            load = functools.partial(requests_per_second, connections=connections, seconds=seconds)
            alternate(f"requests/s, {connections} connections", load)
        alternate("start to Healthy, ms", lambda running: running.start_s * 1000)
        alternate("memory of a worker, idle, MB", worker_mb)
    with tempfile.TemporaryDirectory() as folder:
        for kind, source in BUSY.items():
            path = Path(folder) / f"{kind}.py"
            path.write_text(source, "utf-8")
            alternate(f"GET / while run() {kind} for 5 s, ms", probe_ms, path)
    return figures


def table(figures: dict[str, list[tuple[float, ...]]], systems: list[System]) -> str:
    """Return the figures as a Markdown table: medians, and the ratio of ours to the other with its spread."""
    lines = [f"| | {' | '.join(system.name for system in systems)} | ratio | spread |", "| --- " * 5 + "|"]
    for name, rows in figures.items():
        medians = [statistics.median(column) for column in zip(*rows, strict=True)]
        ratios = sorted(row[1] / row[0] for row in rows)
        cells = [*(f"{value:,.1f}" for value in medians), f"{statistics.median(ratios):.2f}"]
        lines.append(f"| {name} | {' | '.join(cells)} | {ratios[0]:.2f} to {ratios[-1]:.2f} |")
    return "\n".join(lines)


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--release", required=True, help="Python of the environment of the released server")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=5, help="length of each load")
    parser.add_argument("--output", type=Path, default=HERE / "released.md")
    options = parser.parse_args()
    systems = [
        System("released server 1.5.1", [str(Path(options.release).absolute()), "-m", "azureml_inference_server_http"]),
        System("azmlinfsrv", [sys.executable, "-m", "azmlinfsrv"]),
    ]
    figures = measure(systems, options.rounds, options.seconds)
    page = (
        "# Against the released server\n\n"
        f"Made by `python bench/bench.py --rounds {options.rounds} --seconds {options.seconds}`, "
        f"{os.cpu_count()} processors, Python {sys.version.split()[0]}, client and server on one machine, "
        "default logging to a file, one worker, a trivial `run()`.\n"
        "Only the ratios count; they are the median and the range of the rounds.\n\n"
        f"{table(figures, systems)}\n"
    )
    options.output.write_text(page, "utf-8")
    print(page)


if __name__ == "__main__":
    main()
