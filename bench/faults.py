"""How soon the service is back after a process of it was killed, and what clients saw; also of a reload.

Clients post all the time, each over a connection that it keeps; what is away is measured as the longest time in which
none of them had an answer of 200. The aim: less than 2 s each, and no request lost to a reload.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import socket
import statistics
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from bench import HERE, POST_BYTES, Running, System, free_port, serving

CLIENTS = 8
PATIENCE_S = 20.0
AIM_S = 2.0


class Clients:
    """What clients saw; each sends one request after the other.

    Attributes:
        seen: how often each status, and each kind of broken connection, was seen.
        away_s: the longest time without any answer of 200.
    """

    def __init__(self, port: int) -> None:
        self.seen: Counter[str] = Counter()
        self.away_s = 0.0
        self._port = port
        self._last = time.perf_counter()
        self._lock = threading.Lock()
        self._done = threading.Event()

    @contextlib.contextmanager
    def busy(self) -> Iterator[None]:
        """Have them post."""
        threads = [threading.Thread(target=self._post) for _ in range(CLIENTS)]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._done.set()
            for thread in threads:
                thread.join()

    def wait_for(self, more: int) -> None:
        """Wait for so many more successes."""
        wanted, end = self.seen["200"] + more, time.perf_counter() + PATIENCE_S
        while self.seen["200"] < wanted:
            if time.perf_counter() > end:
                raise RuntimeError(f"the service does not come back: {self.seen}")
            time.sleep(0.01)

    def begin(self) -> None:
        """Count and measure from now on."""
        with self._lock:
            self.seen.clear()
            self.away_s, self._last = 0.0, time.perf_counter()

    def _note(self, what: str) -> None:
        with self._lock:
            self.seen[what] += 1
            if what == "200":
                now = time.perf_counter()
                self.away_s = max(self.away_s, now - self._last)
                self._last = now

    def _post(self) -> None:
        while not self._done.is_set():
            try:
                with socket.create_connection(("127.0.0.1", self._port), PATIENCE_S) as sock:
                    self._post_over(sock)
            except OSError as error:
                self._note(type(error).__name__)

    def _post_over(self, sock: socket.socket) -> None:
        """Post until the connection ends."""
        closing = False
        while not (closing or self._done.is_set()):
            sock.sendall(POST_BYTES)
            answer = b""
            while b"\r\n\r\n" not in answer:
                piece = sock.recv(65536)
                if not piece:
                    self._note("closed without an answer")
                    return
                answer += piece
            head, _, body = answer.partition(b"\r\n\r\n")
            fields = head.lower()
            length = int(fields.partition(b"content-length: ")[2].partition(b"\r\n")[0])
            while len(body) < length:
                body += sock.recv(65536)
            closing = b"connection: close" in fields
            self._note(head.split()[1].decode())


def children(pid: int) -> list[int]:
    """Return the children of a process."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text("ascii").split()]


def name_of(pid: int) -> str:
    """Return what a process calls itself."""
    return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")


def victim(running: Running, what: str, fronted: bool) -> int:
    """Return the process of that name."""
    arbiter, master = running.pid, 0
    if fronted:
        (master,) = [child for child in children(running.pid) if "nginx: master" in name_of(child)]
        (arbiter,) = [child for child in children(running.pid) if child != master]
    if what == "nginx's worker":
        return next(child for child in children(master) if "nginx: worker" in name_of(child))
    return {"nginx": master, "arbiter": arbiter, "worker": children(arbiter)[0], "all": running.pid}[what]


def fault(what: str, number: signal.Signals | None, fronted: bool, env: dict[str, str]) -> Clients:
    """Start a server, signal one of its processes under load, and return what clients saw."""
    assigned = [f"{name}={value}" for name, value in env.items()]
    command = ["env", *assigned, sys.executable, "-m", "azmlinfsrv"]
    command += ["--nginx", "--server_address", f"127.0.0.1:{free_port()}"] if fronted else []
    with serving(System(what, command), HERE / "trivial.py") as running:
        clients = Clients(running.port)
        with clients.busy():
            clients.wait_for(1000)
            clients.begin()
            if number is not None:
                os.kill(victim(running, what, fronted), number)
            end = time.perf_counter() + 6.0  # longer than a worker that is replaced stays
            while time.perf_counter() < end:
                time.sleep(0.1)
            clients.wait_for(1000)
    return clients


FAULTS = (
    ("kill -9 of nginx", "nginx", signal.SIGKILL, True),
    ("kill -9 of nginx's worker", "nginx's worker", signal.SIGKILL, True),
    ("kill -9 of gunicorn's arbiter", "arbiter", signal.SIGKILL, True),
    ("kill -9 of the worker", "worker", signal.SIGKILL, True),
    ("kill -9 of the worker, without nginx", "worker", signal.SIGKILL, False),
    ("reload by SIGHUP", "all", signal.SIGHUP, True),
    ("reload by SIGHUP, without nginx", "all", signal.SIGHUP, False),
)
RECYCLED = {"GUNICORN_CMD_ARGS": "--max-requests 5000"}


def measure(rounds: int) -> dict[str, list[Clients]]:
    """Return what clients saw of each fault in each round; the faults take turns."""
    figures: dict[str, list[Clients]] = {}
    for _ in range(rounds):
        rows = [(label, fault(what, number, fronted, {})) for label, what, number, fronted in FAULTS]
        for fronted, label in ((True, "max_requests 5000"), (False, "max_requests 5000, without nginx")):
            rows.append((label, fault("all", None, fronted, RECYCLED)))
        for label, clients in rows:
            figures.setdefault(label, []).append(clients)
            print(f"{label}: {clients.away_s:.2f} s, {dict(clients.seen)}", flush=True)
    return figures


def table(figures: dict[str, list[Clients]]) -> str:
    """Return the figures as a Markdown table."""
    lines = ["| what happens | away, s: median | longest | answers of 200 | others |", "| --- " * 5 + "|"]
    for label, rounds in figures.items():
        away = [clients.away_s for clients in rounds]
        seen: Counter[str] = sum((clients.seen for clients in rounds), Counter())
        others = ", ".join(f"{count} {what}" for what, count in sorted(seen.items()) if what != "200") or "none"
        cells = [label, f"{statistics.median(away):.2f}", f"{max(away):.2f}", f"{seen['200']:,}", others]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--output", type=Path, default=HERE / "faults.md")
    options = parser.parse_args()
    page = (
        "# What clients see of faults\n\n"
        f"Made by `python bench/faults.py --rounds {options.rounds}`, {os.cpu_count()} processors, Python "
        f"{sys.version.split()[0]}; {CLIENTS} clients that post all the time and the server on one machine, one "
        "worker, a trivial `run()`.\n"
        "Away is the longest time without any answer of 200; the aim is less than "
        f"{AIM_S:.0f} s, and no request lost to a reload.\n\n"
        f"{table(measure(options.rounds))}\n"
    )
    options.output.write_text(page, "utf-8")
    print(page)


if __name__ == "__main__":
    main()
