"""Which workers to start and to end: who replaces whom, one at a time, and how long to wait after crashes. Pure policy.

A worker that is to be replaced goes on serving until another is ready in its place. The next is replaced once it has
ended, so that there is one worker more than wanted at the most, whose model needs memory too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

# A worker that was ready and has lived so long is sound: its death is not one of a row.
SOUND_S = 10.0
_FIRST_DELAY_S = 0.5
_REFUSED_S = 1.0
# The longest wait after workers that died before they were ready; and after those that died soon after, as a request
# may have killed each, while others would be answered.
LONGEST_DELAY_S, LONGEST_READY_DELAY_S = 30.0, 5.0


@dataclass
class Member:
    """A worker.

    Attributes:
        pid: its process id.
        started: when it was started, on the monotonic clock in seconds.
        is_ready: whether it has ever been ready.
        is_due: whether another is to take its place.
        is_retired: whether it has been told to end.
    """

    pid: int
    started: float
    is_ready: bool = False
    is_due: bool = False
    is_retired: bool = False


class Orders(NamedTuple):
    """What is to be done now.

    Attributes:
        starts: number of workers to start.
        retire: process ids of the workers to end.
    """

    starts: int
    retire: tuple[int, ...]


class Ended(NamedTuple):
    """What the end of a worker means.

    Attributes:
        is_lost: whether nobody had told it to end, so that another has to be started.
        delay_s: how long no worker is started now.
        crashes: number of crashes in a row.
        ends_reload: whether the workers that were to be replaced by a reload stay, since their successor failed.
    """

    is_lost: bool
    delay_s: float
    crashes: int
    ends_reload: bool


class Crew:
    """The workers of a server.

    Attributes:
        is_complete: whether as many workers as wanted have been ready at a time.
    """

    def __init__(self) -> None:
        self._members: dict[int, Member] = {}
        self._reload: set[int] = set()
        self._crashes = 0
        self._last_crash = self._not_before = 0.0
        self.is_complete = False

    @property
    def serving(self) -> int:
        """Number of workers that serve and have not been told to end."""
        return sum(member.is_ready for member in self._active())

    def joined(self, pid: int, now: float) -> None:
        """Note a worker that has been started.

        Args:
            pid: its process id.
            now: the monotonic clock in seconds, here and elsewhere.
        """
        self._members[pid] = Member(pid, now)

    def seen(self, pid: int, *, ready: bool, worn: bool) -> None:
        """Note how a worker is: whether it is ready, and whether it asks for another to take its place."""
        member = self._members.get(pid)
        if member is not None:
            member.is_ready |= ready
            member.is_due |= worn

    def reload(self) -> None:
        """Have every worker replaced; those that are not ready yet are not worth waiting for."""
        for member in self._active():
            member.is_due = True
            self._reload.add(member.pid)
        self._crashes, self._not_before = 0, 0.0

    def left(self, pid: int, now: float, *, failed: bool) -> Ended:
        """Note a worker that has ended.

        Args:
            pid: its process id.
            now: the monotonic clock in seconds.
            failed: whether a signal or an exit code other than 0 says that something was wrong.
        """
        member = self._members.pop(pid, None)
        self._reload.discard(pid)
        if member is None or member.is_retired or (member.is_ready and not failed):
            return Ended(member is not None and not member.is_retired, 0.0, 0, False)
        ends_reload = bool(self._reload) and not member.is_ready
        if ends_reload:
            for other in self._reload:
                self._members[other].is_due = False
            self._reload.clear()
        delay_s = self._wait_after(member, now)
        return Ended(not ends_reload, delay_s, self._crashes, ends_reload)

    def refused(self, now: float) -> None:
        """Note that the system lets no worker be started now."""
        self._not_before = max(self._not_before, now + _REFUSED_S)

    def next(self, now: float, wanted: int) -> Orders:
        """Return what is to be done now, for as many workers as wanted; what is to be retired is taken as done."""
        retire = self._replaced(wanted)
        active = self._active()
        extra = any(member.is_due for member in active)
        # Those that are not ready are missed least, the youngest of them; then the oldest.
        spare = [member for member in reversed(active) if not member.is_ready]
        spare += [member for member in active if member.is_ready]
        for member in spare[: max(0, len(active) - wanted - extra)]:
            member.is_retired = True
            retire.append(member)
        self._reload.difference_update(member.pid for member in retire)
        self.is_complete |= self.serving >= wanted
        active = self._active()
        is_leaving = len(active) < len(self._members)
        missing = wanted + (extra and not is_leaving) - len(active)
        return Orders(max(0, missing) if now >= self._not_before else 0, tuple(member.pid for member in retire))

    def _active(self) -> list[Member]:
        """Return those that have not been told to end, the oldest first."""
        return [member for member in self._members.values() if not member.is_retired]

    def _replaced(self, wanted: int) -> list[Member]:
        """Retire the workers whose place has been taken, and those that would be replaced before they are ready."""
        retired = []
        for member in self._active():
            if member.is_due and (not member.is_ready or self.serving > wanted):
                member.is_retired = True
                retired.append(member)
        return retired

    def _wait_after(self, member: Member, now: float) -> float:
        """Count a crash, and return how long to wait: those that were started together count as one."""
        if member.is_ready and now - member.started > SOUND_S:
            self._crashes = 1
        elif member.started > self._last_crash:
            self._crashes += 1
        self._last_crash = now
        delay_s = _FIRST_DELAY_S * 2 ** (self._crashes - 2) if self._crashes > 1 else 0.0
        delay_s = min(delay_s, LONGEST_READY_DELAY_S if member.is_ready else LONGEST_DELAY_S)
        self._not_before = max(self._not_before, now + delay_s)
        return delay_s
