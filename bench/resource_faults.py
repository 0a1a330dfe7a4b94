"""Faults of what the server stands on: disks, descriptors, memory, the clock, and those who read what it tells."""

from __future__ import annotations

import contextlib
import email.utils
import errno
import os
import re
import shutil
import socket
import struct
import subprocess
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

from fault_server import WATCHED_S, Outcome, Skipped, Subject, collected, missing_from, settle, subject
from telemetry import endpoint, variables

from bench import HERE

PRINTING = "def init():\n    pass\n\n\ndef run(data):\n    print('called')\n    return 1\n"
GREEDY = """
CALLS = 0


def init():
    pass


def run(data):
    global CALLS
    CALLS += 1
    if CALLS % 10 == 0:
        bytearray(4 << 30)
    return 1
"""
HUGE = GREEDY.replace("% 10 ==", "% 5000 ==").replace("bytearray(4 << 30)", "b'x' * (1 << 30)")
DAY_S = 86400
_PAUSE_S = 0.001
_PATIENCE_S = 60.0


@contextlib.contextmanager
def small_disk(megabytes: int) -> Iterator[Path]:
    """A file system of so many megabytes."""
    if os.geteuid() != 0:
        raise Skipped("a small file system needs root")
    with tempfile.TemporaryDirectory() as folder:
        mount = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", folder]
        done = subprocess.run(mount, check=False, capture_output=True, text=True)
        if done.returncode:
            raise Skipped(done.stderr.strip())
        try:
            yield Path(folder)
        finally:
            subprocess.run(["umount", "--lazy", folder], check=True)


def fill(disk: Path) -> Path:
    """Fill a disk, and return the file that does."""
    path = disk / "filler"
    with path.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(b"x" * 4096)
    return path


def log_disk_full() -> Outcome:
    """The disk of the log is full, for some seconds; then there is room again."""
    with small_disk(8) as disk:
        log = disk / "log"
        with subject(first=f'exec "$@" >>{log} 2>&1', pause_s=_PAUSE_S) as it:
            settle(1.0)
            filler = fill(disk)
            settle(WATCHED_S)
            filler.unlink()
            settle(1.0)
            it.clients.wait_for(200)
        text = log.read_text("utf-8", "replace")
        counts = re.findall(r"Lines of the log that could not be written before, and are lost: (\d+)", text)
        if not counts:
            raise RuntimeError("the log does not say what it lost")
    lost = f"{sum(map(int, counts)):,} lines of the log, as it says"
    return Outcome(it.clients.seen, it.clients.away_s, lost)


def data_disk_full() -> Outcome:
    """The disk of collected model data is full for some seconds, while requests go on."""
    with small_disk(32) as disk:
        env = {"AML_MODEL_DC_STORAGE_ENABLED": "true", "AZMLINFSRV_MODEL_DATA_FOLDER": str(disk / "data")}
        with subject(env=env, pause_s=0.01) as it:
            settle(1.0)
            filler = fill(disk)
            settle(WATCHED_S)
            filler.unlink()
            it.clients.wait_for(200)
        lost = missing_from(disk / "data", it.clients)
    return Outcome(it.clients.seen, it.clients.away_s, lost)


def no_descriptors() -> Outcome:
    """Others take every descriptor that the server may have, for some seconds."""
    with subject(first='ulimit -n 64; exec "$@"', pause_s=_PAUSE_S) as it:
        with contextlib.ExitStack() as stack:
            for _ in range(100):
                stack.enter_context(socket.create_connection(("127.0.0.1", it.running.port), 10))
            settle(WATCHED_S)
        it.clients.wait_for(200)
        with socket.create_connection(("127.0.0.1", it.running.port), 10) as new:
            new.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            if not new.recv(1000).startswith(b"HTTP/1.1 200 "):
                raise RuntimeError("no new connection is taken")
    return Outcome(it.clients.seen, it.clients.away_s)


def no_memory() -> Outcome:
    """Every tenth call wants more memory than the process may have."""
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder) / "score.py"
        script.write_text(GREEDY, "utf-8")
        limited = 'ulimit -v 3000000; exec "$@"'
        with collected(first=limited, script=script) as (it, outcomes):
            settle(WATCHED_S)
            it.clients.wait_for(200)
    return outcomes[0]


@contextlib.contextmanager
def memory_group(megabytes: int) -> Iterator[Path]:
    """A control group of so many megabytes, of version 1 or 2; the path of the file that takes its processes."""
    first, second = Path("/sys/fs/cgroup/memory"), Path("/sys/fs/cgroup")
    root, limit = (first, "memory.limit_in_bytes") if first.is_dir() else (second, "memory.max")
    group = root / f"faults-{os.getpid()}"
    try:
        group.mkdir()
    except OSError as error:
        raise Skipped(f"a control group cannot be made: {error.strerror}") from error
    try:
        try:
            (group / limit).write_text(str(megabytes << 20), "ascii")
        except OSError as error:
            raise Skipped(f"the memory of a control group cannot be limited: {error.strerror}") from error
        yield group / "cgroup.procs"
    finally:
        group.rmdir()


def killed_for_memory() -> Outcome:
    """The kernel kills each worker that takes more memory than the container has; two workers, every 5000th call."""
    with tempfile.TemporaryDirectory() as folder, memory_group(400) as processes:
        script = Path(folder) / "score.py"
        script.write_text(HUGE, "utf-8")
        limited = f'echo $$ >{processes}; exec "$@"'
        with collected("--worker_count", "2", first=limited, script=script) as (it, outcomes):
            before = _children(it)
            settle(WATCHED_S)
            if before & _children(it):
                raise RuntimeError("no worker was killed")
            it.clients.wait_for(200)
    return outcomes[0]


def _children(it: Subject) -> set[str]:
    pid = it.running.pid
    return set(Path(f"/proc/{pid}/task/{pid}/children").read_text("ascii").split())


def clock_jumps() -> Outcome:
    """The clock of the day is set a day ahead, then two days back."""
    if shutil.which("cc") is None:
        raise Skipped("a C compiler is missing")
    with tempfile.TemporaryDirectory() as name:
        library, moment = Path(name) / "set_clock.so", Path(name) / "offset"
        build = ["cc", "-shared", "-fPIC", "-O1", "-o", str(library), str(HERE / "set_clock.c")]
        subprocess.run(build, check=True)
        moment.write_bytes(struct.pack("=q", 0))
        env = {
            "LD_PRELOAD": str(library),
            "CLOCK_OFFSET_FILE": str(moment),
            "SCORING_TIMEOUT_MS": "3000",
            "WORKER_TIMEOUT": "10",
        }
        with collected(env=env) as (it, outcomes):
            for jump_s in (DAY_S, -DAY_S):
                settle(2.0)
                with moment.open("r+b", buffering=0) as file:
                    file.write(struct.pack("=q", jump_s))
                away = _date_s(it.running.port) - time.time()
                if abs(away - jump_s) > _PATIENCE_S:
                    raise RuntimeError(f"the server's clock is {away:.0f} s ahead, and not {jump_s}")
            settle(WATCHED_S)
            it.clients.wait_for(200)
    return outcomes[0]


def _date_s(port: int) -> float:
    """Return the time that a server says it is, a second after it was set."""
    settle(1.5)
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/") as answer:
        return email.utils.parsedate_to_datetime(answer.headers["Date"]).timestamp()


def telemetry_down() -> Outcome:
    """The endpoint of Application Insights takes records, and then is gone."""
    with contextlib.ExitStack() as stack:
        with endpoint("takes") as url:
            it = stack.enter_context(subject(env=variables(url), pause_s=_PAUSE_S))
            settle(2.0)
        settle(WATCHED_S)
        it.clients.wait_for(200)
        with urllib.request.urlopen(f"http://127.0.0.1:{it.running.port}/metrics") as answer:
            found = re.search(r"telemetry_dropped\S* ([\d.e+]+)", answer.read().decode())
    dropped = float(found[1]) if found else 0.0
    return Outcome(it.clients.seen, it.clients.away_s, f"{dropped:,.0f} records of telemetry, counted in `/metrics`")


def syslog_gone() -> Outcome:
    """Who listens for printed lines on a Unix socket ends; another comes some seconds later."""
    with tempfile.TemporaryDirectory() as folder:
        path, script = Path(folder) / "log", Path(folder) / "score.py"
        script.write_text(PRINTING, "utf-8")
        with contextlib.ExitStack() as first, contextlib.ExitStack() as second:
            taken = first.enter_context(syslog(path))
            with subject(("--syslog_address", str(path)), script=script, pause_s=_PAUSE_S) as it:
                settle(1.0)
                first.close()
                settle(WATCHED_S)
                again = second.enter_context(syslog(path))
                settle(2.0)
                it.clients.wait_for(200)
        if not (taken and again):
            raise RuntimeError(f"syslog got {len(taken)} and {len(again)} lines")
    lost = len(it.clients.answered) - len(taken) - len(again)
    return Outcome(it.clients.seen, it.clients.away_s, f"{lost:,} printed lines")


@contextlib.contextmanager
def syslog(path: Path) -> Iterator[list[int]]:
    """Listen on a Unix socket; gives the sizes of what it has taken, whole at the end."""
    taken: list[int] = []
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(path))
        thread = threading.Thread(target=_drain, args=(listener, taken))
        thread.start()
        try:
            yield taken
        finally:
            listener.shutdown(socket.SHUT_RD)
            thread.join()
            path.unlink()


def _drain(syslog: socket.socket, taken: list[int]) -> None:
    """Take datagrams until there are no more."""
    with contextlib.suppress(OSError):
        while data := syslog.recv(65536):
            taken.append(len(data))


def log_reader_gone() -> Outcome:
    """Who reads the log through a pipe ends; then a worker dies, and another must start without a log."""
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        pipe = Path(folder) / "pipe"
        os.mkfifo(pipe)
        reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
        gone = threading.Event()
        thread = threading.Thread(target=_read, args=(reader, gone))
        thread.start()
        try:
            it = stack.enter_context(subject(first=f'exec "$@" >{pipe} 2>&1', pause_s=_PAUSE_S))
            settle(1.0)
        finally:
            gone.set()
            thread.join()
            os.close(reader)
        settle(2.0)
        worker = Path(f"/proc/{it.running.pid}/task/{it.running.pid}/children").read_text("ascii").split()[0]
        os.kill(int(worker), 9)
        settle(WATCHED_S)
        it.clients.wait_for(200)
    return Outcome(it.clients.seen, it.clients.away_s, "the log from then on")


def _read(reader: int, gone: threading.Event) -> None:
    """Read a pipe until it is time to go."""
    while not gone.is_set():
        try:
            if not os.read(reader, 65536):
                time.sleep(0.01)
        except OSError as error:
            if error.errno != errno.EAGAIN:
                raise
            time.sleep(0.01)


RESOURCE_FAULTS: dict[str, Callable[[], Outcome]] = {
    "no room for the log, for 6 s": log_disk_full,
    "no room for model data, for 6 s": data_disk_full,
    "no descriptors, for 6 s": no_descriptors,
    "every tenth call needs too much memory": no_memory,
    "the kernel kills workers for memory": killed_for_memory,
    "the clock jumps a day ahead, then two days back": clock_jumps,
    "the telemetry endpoint is gone": telemetry_down,
    "syslog is gone for 6 s": syslog_gone,
    "the reader of the log is gone, then kill -9 of the worker": log_reader_gone,
}
