"""When a part that died is started again."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

import pytest

from azmlinfsrv.child import Part
from azmlinfsrv.succession import Succession

if TYPE_CHECKING:
    from azmlinfsrv.berth import Berth


def test_back_off() -> None:
    """The first death is made good at once, the next after longer and longer, and then no more."""
    part = Part("it", lambda: 0)
    delays = []
    while not part.gave_up:
        part.run(0.0)
        part.ended(1.0)
        delays.append(part.due - 1.0)
    assert delays == [0, 0.25, 0.5, 1, 2, 4]


def test_a_sound_part_starts_anew() -> None:
    """A part that has lived for long dies its first death, however often it died before."""
    part = Part("it", lambda: 0)
    for now in range(0, 1000, 100):
        part.run(now)
        part.ended(now + 99)
        assert part.due == now + 99
    assert not part.gave_up


def test_signals_to_nobody() -> None:
    """A part that does not run gets no signal."""
    part = Part("it", lambda: 0)
    part.send(9)
    part.kill()
    assert part.pid == 0


def test_a_part_for_which_there_is_no_room(caplog: pytest.LogCaptureFixture) -> None:
    """A part that cannot be started again is due some seconds later; the first time, it is an error."""
    numbers: list[int] = []

    def start() -> int:
        """Fail, unless there is a number."""
        if not numbers:
            raise BlockingIOError(errno.EAGAIN, "no process is left")
        return numbers.pop()

    part = Part("it", start)
    with pytest.raises(BlockingIOError):
        part.run(0.0)
    numbers.append(1 << 30)
    part.run(0.0)
    part.ended(100.0)
    part.run(100.0)
    assert (part.pid, part.due) == (0, 104.0)
    assert "it cannot be started, it is tried again" in caplog.text and "no process is left" in caplog.text


def test_a_reload_for_which_there_is_no_room(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """Where no second process can be made, the first one serves on, and no descriptor is left open."""

    def become(_: Berth) -> None:
        """Do nothing; no process is made."""

    def fork() -> int:
        """Fail."""
        raise BlockingIOError(errno.EAGAIN, "no process is left")

    server = Succession(become, 1)
    server.pid = os.getpid()
    monkeypatch.setattr("os.fork", fork)
    before = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
    server.succeed()
    assert (server.pid, server.waits, server.is_down) == (os.getpid(), [], False)
    assert not before or len(os.listdir("/proc/self/fd")) == before
    assert "The reload is given up: [Errno 11] no process is left" in caplog.text.replace("[Errno 35]", "[Errno 11]")
