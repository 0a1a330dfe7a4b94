"""Where the time of a request goes: the processor time of a worker for each answer, and its share by what it does.

The processor time is the kernel's count, for its own work and for the program's. How the program's is split up follows
from samples of py-spy, so a tenth of a microsecond means nothing.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from memory import children

from bench import HERE, Running, System, requests_per_second, serving

KERNEL, OTHER = "system calls", "the interpreter and the event loop"
# What a function of this server is for: by its file, the last in the stack that is named here.
PARTS = {
    "parser.py": "parsing HTTP, checking limits",
    "protocol.py": "connections: taking pieces, sending answers",
    "wire.py": "head of the answer",
    "app.py": "routes, request ids, headers of the answer",
    "identity.py": "routes, request ids, headers of the answer",
    "messages.py": "routes, request ids, headers of the answer",
    "access_log.py": "both log lines",
    "logs.py": "both log lines",
    "metrics.py": "metrics",
    "runner.py": "handing requests over and taking answers back, limits",
    "completions.py": "handing requests over and taking answers back, limits",
    "admission.py": "handing requests over and taking answers back, limits",
    "capture.py": "what `run()` prints",
    "scorer.py": "argument, deadline, encoding of the result",
    "deadline.py": "argument, deadline, encoding of the result",
    "inputs.py": "argument, deadline, encoding of the result",
    "outputs.py": "argument, deadline, encoding of the result",
    "codec.py": "argument, deadline, encoding of the result",
    "trivial.py": "`run()` itself",
}
# Functions that the threads wait in: what is below them in the C library is the kernel's, or a wait.
WAITING = ("Runner._work", "Service._run_io", "Runner._pass_on", "Completions.post", "HttpProtocol.send")
C_LIBRARY = "(libc"


class Time(NamedTuple):
    """Processor time of a process in seconds: the program's, and the kernel's for it."""

    user: float
    system: float


def processor_time(pid: int) -> Time:
    """Return the processor time that a process has taken."""
    fields = Path(f"/proc/{pid}/stat").read_text("ascii").rpartition(")")[2].split()
    tick = os.sysconf("SC_CLK_TCK")
    return Time(int(fields[11]) / tick, int(fields[12]) / tick)


def part(frames: list[str]) -> str | None:
    """Return what a stack is counted as; None for the kernel's, and for waits.

    Args:
        frames: the outermost first, each ``function (file:line)``.
    """
    ours = [frame for frame in frames if "azmlinfsrv/" in frame or "trivial.py" in frame]
    if not ours or (C_LIBRARY in frames[-1] and ours[-1].startswith(WAITING)):
        return None
    if ours[-1].startswith(("Service._run_io", "Runner._serve_here")):
        return OTHER
    file = ours[-1].rpartition("(")[2].partition(":")[0].rpartition("/")[2]
    return PARTS.get(file, OTHER)


def sampled(pid: int, seconds: int) -> Counter[str]:
    """Return how many samples of a process fell to each part."""
    found: Counter[str] = Counter()
    with tempfile.NamedTemporaryFile("r", suffix=".txt") as file:
        command = ["py-spy", "record", "--native", "--format", "raw", "--rate", "500", "--pid", str(pid)]
        subprocess.run([*command, "--duration", str(seconds), "--output", file.name], check=True, capture_output=True)
        for line in file:
            stack, _, count = line.rpartition(" ")
            name = part(stack.split(";"))
            if name is not None:
                found[name] += int(count)
    return found


def measure(running: Running, connections: int, seconds: int) -> tuple[float, Time, Counter[str]]:
    """Return requests/s and the worker's processor time for each without samples, then the samples under the load."""
    (worker,) = children(running.pid)
    requests_per_second(running, connections, 1)
    before, begun = processor_time(worker), time.perf_counter()
    rate = requests_per_second(running, connections, seconds)
    answers = rate * (time.perf_counter() - begun)
    after = processor_time(worker)
    taken = Time(*((b - a) / answers for a, b in zip(before, after, strict=True)))
    with ThreadPoolExecutor(1) as pool:
        load = pool.submit(requests_per_second, running, connections, seconds + 2)
        samples = sampled(worker, seconds)
        load.result()
    return rate, taken, samples


def table(taken: Time, samples: Counter[str]) -> str:
    """Return the parts as a Markdown table, in microseconds of a request, the largest first."""
    total = sum(samples.values())
    rows = {KERNEL: taken.system} | {name: taken.user * count / total for name, count in samples.items()}
    rows = dict(sorted(rows.items(), key=lambda row: -row[1])) | {"all": sum(rows.values())}
    lines = [f"| {name} | {seconds * 1e6:.1f} |" for name, seconds in rows.items()]
    return "\n".join(["| work | µs a request |", "| --- | --- |", *lines])


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--connections", type=int, default=16)
    parser.add_argument("--seconds", type=int, default=10)
    parser.add_argument("--output", type=Path, default=HERE / "request_time.md")
    options = parser.parse_args()
    if not shutil.which("py-spy"):
        raise SystemExit("py-spy is not there: pip install py-spy")
    with serving(System("azmlinfsrv", [sys.executable, "-m", "azmlinfsrv"]), HERE / "trivial.py") as running:
        rate, taken, samples = measure(running, options.connections, options.seconds)
    page = (
        "# Where the time of a request goes\n\n"
        f"Made by `python bench/request_time.py --connections {options.connections} --seconds {options.seconds}`, "
        f"{os.cpu_count()} processors, Python {sys.version.split()[0]}; client and server on one machine, one worker, "
        f"default logging to a file, a `run()` that does nothing, {options.connections} connections that are kept.\n"
        f"{rate:,.0f} requests/s, without py-spy; {sum(samples.values())} samples.\n\n{table(taken, samples)}\n"
    )
    options.output.write_text(page, "utf-8")
    print(page)


if __name__ == "__main__":
    main()
