"""When the client of a `run()` that is stuck in native code is answered, and when the service is back.

One worker, a deadline and a grace of a second each. Where the native code holds the interpreter lock, nothing in the
worker can answer: its connection ends when the worker is ended from outside, at the latest a second after the silence
that is allowed, which is deadline, grace and 1.1 s.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import statistics
import sys
import threading
import time
from pathlib import Path
from typing import NamedTuple

from bench import HERE, System, free_port, serving

TIMEOUT_MS, GRACE_MS = 1000, 1000
PATIENCE_S = 60.0
AIM_S = 5.0


class Outcome(NamedTuple):
    """What clients saw; times in seconds after the request was sent.

    Attributes:
        answer: status, or how the connection ended.
        answered_s: when the client of the stuck call had its answer.
        served_s: when another client had one of 200 again.
        refused: how many answers of others were not 200 until then.
    """

    answer: str
    answered_s: float
    served_s: float
    refused: int


def ask(port: int, content: object) -> str:
    """Return the status of an answer, or how the connection ended."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_S)
    try:
        connection.request("POST", "/score", json.dumps(content))
        return str(connection.getresponse().status)
    except (OSError, http.client.HTTPException) as error:
        return type(error).__name__
    finally:
        connection.close()


def hang(port: int, way: str) -> Outcome:
    """Have a request hang, and ask for another answer until there is one."""
    began = time.perf_counter()
    answered: list[tuple[str, float]] = []

    def client() -> None:
        answered.append((ask(port, {"hang": way}), time.perf_counter() - began))

    thread = threading.Thread(target=client)
    thread.start()
    time.sleep(0.1)
    refused = 0
    while ask(port, {}) != "200":
        refused += 1
        time.sleep(0.05)
    served_s = time.perf_counter() - began
    thread.join()
    return Outcome(*answered[0], served_s, refused)


def measure(way: str, *, fronted: bool) -> Outcome:
    """Start a server, and have a request hang."""
    assigned = [f"SCORING_TIMEOUT_MS={TIMEOUT_MS}", f"AZMLINFSRV_STUCK_GRACE_MS={GRACE_MS}"]
    command = ["env", *assigned, sys.executable, "-m", "azmlinfsrv"]
    command += ["--nginx", "--server_address", f"127.0.0.1:{free_port()}"] if fronted else []
    with serving(System(way, command), HERE / "hanging.py") as running:
        return hang(running.port, way)


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--output", type=Path, default=HERE / "stuck.md")
    options = parser.parse_args()
    lines = [
        "| the interpreter lock is | behind | the client has | after, s | served again after, s: median | longest |",
        "| --- " * 6 + "|",
    ]
    for fronted in (False, True):
        for way in ("free", "held"):
            seen = [measure(way, fronted=fronted) for _ in range(options.rounds)]
            answers = ", ".join(sorted({each.answer for each in seen}))
            after, served = [each.answered_s for each in seen], [each.served_s for each in seen]
            cells = [way, "nginx" if fronted else "nothing", answers, f"{statistics.median(after):.2f}"]
            cells += [f"{statistics.median(served):.2f}", f"{max(served):.2f}"]
            lines.append(f"| {' | '.join(cells)} |")
            print(lines[-1], flush=True)
    page = (
        "# What clients see of a stuck `run()`\n\n"
        f"Made by `python bench/stuck.py --rounds {options.rounds}`, {os.cpu_count()} processors, Python "
        f"{sys.version.split()[0]}; one worker, SCORING_TIMEOUT_MS={TIMEOUT_MS}, "
        f"AZMLINFSRV_STUCK_GRACE_MS={GRACE_MS}, a call that locks a mutex twice.\n"
        f"The aim: an answer at the deadline where the lock is free, and served again within {AIM_S:.0f} s after the "
        "deadline and grace.\n\n" + "\n".join(lines) + "\n"
    )
    options.output.write_text(page, "utf-8")
    print(page)


if __name__ == "__main__":
    main()
