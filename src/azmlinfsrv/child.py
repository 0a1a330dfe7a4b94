"""The processes that the supervisor forks off, and when one that died is started again."""

from __future__ import annotations

import contextlib
import ctypes
import logging
import os
import signal
import sys
import traceback
from collections.abc import Callable

logger = logging.getLogger("azmlinfsrv")

_PR_SET_PDEATHSIG = 1
# A part that has lived so long is sound: the next death is its first.
_SOUND_S = 30.0
_MOST_DEATHS = 6
_FIRST_DELAY_S, _LONGEST_DELAY_S = 0.25, 4.0


def fork(become: Callable[[], object], at_parents_death: signal.Signals) -> int:
    """Run a function in a process of its own, which leads its own process group, and return its id.

    The process ends with the function; what it raises goes up the stack, so that an exit is a whole one.

    Args:
        become: what the process is to do.
        at_parents_death: what it gets when this process dies (Linux).
    """
    parent = os.getpid()
    with contextlib.suppress(OSError):  # nobody reads it any more, or its disk is full
        sys.stdout.flush()
        sys.stderr.flush()
    pid = os.fork()
    if pid:
        with contextlib.suppress(OSError):
            os.setpgid(pid, pid)
        return pid
    os.setpgid(0, 0)
    signal.set_wakeup_fd(-1)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, signal.SIG_DFL)
    for number in (signal.SIGTTIN, signal.SIGTTOU, signal.SIGWINCH, signal.SIGCHLD):
        signal.signal(number, signal.SIG_DFL)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(at_parents_death))
        if os.getppid() != parent:
            os.kill(os.getpid(), at_parents_death)
    try:
        become()
    except Exception:  # noqa: BLE001 - the border of a process
        traceback.print_exc()
        raise SystemExit(1) from None
    raise SystemExit(0)


class Part:
    """A process that is to be kept up.

    Args:
        name: what it is called in the log.
        start: forks it, and returns its id.

    Attributes:
        pid: its process id, or 0 where it does not run.
        due: when it is to be started, on the monotonic clock in seconds.
        gave_up: whether it has died too often.
    """

    def __init__(self, name: str, start: Callable[[], int]) -> None:
        self.name = name
        self.pid = 0
        self.due = 0.0
        self._start = start
        self._started = 0.0
        self._deaths = 0
        self._group = 0
        self._orphans: set[int] = set()

    @property
    def gave_up(self) -> bool:
        """Whether it has died so often, in so short a time, that starting it again is of no use."""
        return self._deaths >= _MOST_DEATHS

    def run(self, now: float) -> None:
        """Start it; where there is no room for a process, it is due a little later, but for the first time.

        Raises:
            OSError: it could not be started for the first time.
        """
        self._started = now
        try:
            self.pid = self._group = self._start()
        except OSError as error:
            if not self._group:
                raise
            self.due = now + _LONGEST_DELAY_S
            logger.error("%s cannot be started, it is tried again: %s", self.name, error)  # noqa: TRY400 - says it all

    def ended(self, now: float) -> None:
        """Note that it has died: the first time it is due at once, then after longer and longer."""
        self.pid = 0
        self._deaths = 1 if now - self._started > _SOUND_S else self._deaths + 1
        delay = 0.0 if self._deaths == 1 else _FIRST_DELAY_S * 2 ** (self._deaths - 2)
        self.due = now + min(delay, _LONGEST_DELAY_S)

    def send(self, number: int) -> None:
        """Signal it, if it runs."""
        if self.pid:
            os.kill(self.pid, number)

    def leave(self, number: int | None) -> None:
        """See to the processes that it left behind when it died.

        Args:
            number: a signal that has them finish; None: they notice by themselves.
        """
        self._orphans = {group for group in self._orphans if _signal_group(group, 0)}
        if _signal_group(self._group, number or 0):
            self._orphans.add(self._group)

    def kill(self) -> None:
        """Kill it, if it runs, and what was left behind of those before it."""
        for group in ({self._group} if self.pid else set()) | self._orphans:
            _signal_group(group, signal.SIGKILL)
        self._orphans.clear()


def _signal_group(group: int, number: int) -> bool:
    """Signal a process group, and return whether there is one."""
    try:
        os.killpg(group, number)
    except (ProcessLookupError, PermissionError):
        return False
    return True
