"""Faults that a signal or a changed script makes: processes that die or stop, reloads and recycling."""

from __future__ import annotations

import contextlib
import os
import signal
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from fault_server import WATCHED_S, Outcome, Subject, collected, settle

GOOD = "def init():\n    pass\n\n\ndef run(data):\n    return {'ok': 1}\n"
BROKEN = "import no_such_module\n"
LEAKING = (
    "KEPT = []\n\n\ndef init():\n    pass\n\n\ndef run(data):\n    KEPT.append(bytearray(b'x' * 20000))\n    return 1\n"
)
PRELOAD = {"WORKER_PRELOAD": "true"}
TWO = ("--worker_count", "2")
SINGLE = ("--hosting", "single")
_PATIENCE_S = 30.0


def children(pid: int) -> list[int]:
    """Return the children of a process."""
    with contextlib.suppress(FileNotFoundError):
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text("ascii").split()]
    return []


def name_of(pid: int) -> str:
    """Return what a process calls itself."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    return ""


def victim(it: Subject, what: str) -> int:
    """Return the process of that name."""
    arbiter, master = it.running.pid, 0
    if it.is_fronted:
        (master,) = [child for child in children(it.running.pid) if "nginx: master" in name_of(child)]
        (arbiter,) = [child for child in children(it.running.pid) if child != master]
    if what == "nginx's worker":
        return next(child for child in children(master) if "nginx: worker" in name_of(child))
    if what == "worker":
        return children(arbiter)[0]
    return {"nginx": master, "arbiter": arbiter, "all": it.running.pid}[what]


def signalled(what: str, number: int, *arguments: str, nginx: bool = False, watched_s: float = WATCHED_S) -> Outcome:
    """Signal a process under load."""
    with collected(*arguments, nginx=nginx) as (it, outcomes):
        os.kill(victim(it, what), number)
        settle(watched_s)
        it.clients.wait_for(200)
    return outcomes[0]


def stopped() -> Outcome:
    """Stop one of two workers, as a debugger or a frozen container does; clients that it has wait until it is ended."""
    with collected(*TWO, env={"WORKER_TIMEOUT": "3"}) as (it, outcomes):
        os.kill(victim(it, "worker"), signal.SIGSTOP)
        settle(10.0)
        it.clients.wait_for(200)
    return outcomes[0]


def reloaded(*arguments: str, env: dict[str, str] | None = None, nginx: bool = False, source: str = GOOD) -> Outcome:
    """Change the script and send SIGHUP, three times under load."""
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder) / "score.py"
        script.write_text(GOOD, "utf-8")
        with collected(*arguments, env=env, nginx=nginx, script=script) as (it, outcomes):
            for _ in range(3):
                script.write_text(source, "utf-8")
                os.kill(it.running.pid, signal.SIGHUP)
                settle(WATCHED_S)
            it.clients.wait_for(200)
    return outcomes[0]


def recycled(*arguments: str, env: dict[str, str], nginx: bool = False, source: str = GOOD) -> Outcome:
    """Have workers replaced under load, at least twice."""
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder) / "score.py"
        script.write_text(source, "utf-8")
        with collected(*arguments, env=env, nginx=nginx, script=script) as (it, outcomes):
            arbiter = victim(it, "arbiter")
            seen: set[int] = set()
            wanted = 2 + len(children(arbiter))
            end = time.perf_counter() + 3 * _PATIENCE_S
            while len(seen) < wanted:
                seen |= set(children(arbiter))
                if time.perf_counter() > end:
                    raise RuntimeError("no worker is replaced")
                time.sleep(0.05)
            settle(WATCHED_S)
            it.clients.wait_for(200)
    return outcomes[0]


REQUESTS = {"AZMLINFSRV_MAX_REQUESTS": "5000", "AZMLINFSRV_MAX_REQUESTS_JITTER": "500"}
MEMORY = {"AZMLINFSRV_MAX_WORKER_MEMORY_BYTES": "150000000"}

PROCESS_FAULTS: dict[str, Callable[[], Outcome]] = {
    "kill -9 of nginx": partial(signalled, "nginx", signal.SIGKILL, nginx=True),
    "kill -9 of nginx's worker": partial(signalled, "nginx's worker", signal.SIGKILL, nginx=True),
    "kill -9 of gunicorn's arbiter": partial(signalled, "arbiter", signal.SIGKILL, nginx=True),
    "kill -9 of the worker": partial(signalled, "worker", signal.SIGKILL, nginx=True),
    "kill -9 of the worker, without nginx": partial(signalled, "worker", signal.SIGKILL),
    "kill -9 of one of two workers": partial(signalled, "worker", signal.SIGKILL, *TWO),
    "SIGSTOP of one of two workers, WORKER_TIMEOUT 3": stopped,
    "SIGHUP": reloaded,
    "SIGHUP, nginx": partial(reloaded, nginx=True),
    "SIGHUP, two workers": partial(reloaded, *TWO),
    "SIGHUP, two workers, WORKER_PRELOAD": partial(reloaded, *TWO, env=PRELOAD),
    "SIGHUP, two workers, WORKER_PRELOAD, nginx": partial(reloaded, *TWO, env=PRELOAD, nginx=True),
    "SIGHUP, a single process, nginx": partial(reloaded, *SINGLE, nginx=True),
    "SIGHUP, the script does not load": partial(reloaded, source=BROKEN),
    "SIGHUP, the script does not load, WORKER_PRELOAD": partial(reloaded, source=BROKEN, env=PRELOAD),
    "recycled after 5000 requests": partial(recycled, env=REQUESTS),
    "recycled after 5000 requests, nginx": partial(recycled, env=REQUESTS, nginx=True),
    "recycled after 5000 requests, two workers": partial(recycled, *TWO, env=REQUESTS),
    "recycled at 150 MB": partial(recycled, env=MEMORY, source=LEAKING),
}
