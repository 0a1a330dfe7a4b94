"""The processes of a server: their processor time, their memory, their end."""

from __future__ import annotations

import contextlib
import signal
import subprocess
from collections.abc import Iterator

import psutil


class Tree:
    """A process and all that came of it.

    Args:
        process: the first, which the caller started.
    """

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process
        self._seen: dict[int, psutil.Process] = {}

    def members(self) -> list[psutil.Process]:
        """Return those that live."""
        with contextlib.suppress(psutil.NoSuchProcess):
            first = psutil.Process(self._process.pid)
            for member in (first, *first.children(recursive=True)):
                self._seen.setdefault(member.pid, member)
        return [member for member in self._seen.values() if member.is_running()]

    def cpu_s(self) -> float:
        """Return the processor time of those that live, in seconds."""
        total = 0.0
        for member in self._alive():
            times = member.cpu_times()
            total += times.user + times.system
        return total

    def memory_mb(self) -> float:
        """Return their memory in MB, what several share counted once (PSS)."""
        return sum(float(member.memory_full_info().pss) for member in self._alive()) / 2**20

    def end(self, number: signal.Signals, patience_s: float = 20.0) -> None:
        """Signal the first, wait for its end, and end what it left."""
        self.members()
        if self._process.poll() is None:
            self._process.send_signal(number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(patience_s)
        left = self.members()
        for member in left:
            with contextlib.suppress(psutil.NoSuchProcess):
                member.terminate()
        _, stubborn = psutil.wait_procs(left, timeout=5)
        for member in stubborn:
            with contextlib.suppress(psutil.NoSuchProcess):
                member.kill()
        self._process.wait()

    def _alive(self) -> Iterator[psutil.Process]:
        for member in self.members():
            with contextlib.suppress(psutil.NoSuchProcess, psutil.ZombieProcess):
                member.cpu_times()
                yield member
