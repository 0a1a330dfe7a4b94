"""Workers that give no sign of life are ended by who is outside of them."""

from __future__ import annotations

import os
import signal

import pytest

from azmlinfsrv.settings import Settings
from azmlinfsrv.silence import SilenceWatch, longest_silence_s
from azmlinfsrv.telemetry.board import Board
from azmlinfsrv.worker_state import WorkerState
from tests.unit.http_fakes import logged

LONGEST_S = 10.0


class Watched:
    """Two workers, a watch, and the signals that it sends.

    Attributes:
        sent: process id and number of each signal.
        now: the time.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.board = Board(2, 2)
        self.states = [WorkerState(self.board, self.board.take()) for _ in range(2)]
        self.sent: list[tuple[int, int]] = []
        self.now = 100.0
        self.watch = SilenceWatch(self.board, LONGEST_S)
        for number, state in enumerate(self.states):
            state.begin(10 + number, self.now)
            state.tell(())
        monkeypatch.setattr(os, "kill", self._kill)
        self.watch.check(self.now)

    def _kill(self, pid: int, number: int) -> None:
        self.sent.append((pid, number))

    def seconds(self, count: int, *alive: int) -> list[tuple[int, int]]:
        """Let seconds pass, in which these workers give signs of life; returns the signals that were sent."""
        self.sent = []
        for _ in range(count):
            self.now += 1
            for number in alive:
                self.states[number].beat(self.now)
            self.watch.check(self.now)
        return self.sent


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> Watched:
    """Two workers and a watch."""
    return Watched(monkeypatch)


def test_a_silent_worker_is_ended(watched: Watched) -> None:
    """One that has been silent for too long gets SIGABRT, then SIGKILL until it is gone; the log says which."""
    with logged("azmlinfsrv") as messages:
        assert watched.seconds(10, 1) == []
        assert watched.seconds(1, 1) == [(10, signal.SIGABRT)]
        assert watched.seconds(2, 1) == [(10, signal.SIGKILL)] * 2
        watched.board.release(0)
        assert watched.seconds(30, 1) == []
    (line,) = messages
    assert "pid 10 " in line and "silent for 11.0 s" in line


def test_a_worker_that_comes_back_is_left_alone(watched: Watched) -> None:
    """Signs of life before the time is up count; a later silence has its whole time."""
    for _ in range(3):
        assert watched.seconds(9, 1) == []
        assert watched.seconds(1, 0, 1) == []


def test_a_worker_that_starts_is_left_alone(watched: Watched) -> None:
    """`init()` may hold the lock for as long as it takes."""
    watched.states[0].tell(("starting",))
    assert watched.seconds(1000, 1) == []


def test_who_was_stopped_itself_looks_again(watched: Watched) -> None:
    """After a pause of the watch the workers have until its next look, since they may have been stopped with it."""
    watched.now += 1000
    watched.watch.check(watched.now)
    assert watched.seconds(1, 0, 1) == []


def test_a_process_that_is_gone(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    """That a worker has ended already is no failure."""

    def kill(*_: int) -> None:
        raise ProcessLookupError

    monkeypatch.setattr(os, "kill", kill)
    assert watched.seconds(15, 1) == []


@pytest.mark.parametrize(
    ("settings", "expected_s"),
    [
        (Settings(scoring_timeout_ms=30_000, stuck_grace_ms=3000), 34.1),
        (Settings(), 3604.1),
        (Settings(scoring_timeout_ms=0), float("inf")),
        (Settings(stuck_grace_ms=0), float("inf")),
    ],
)
def test_the_longest_silence(settings: Settings, expected_s: float) -> None:
    """A call may hold the lock until its deadline and grace; where either is any time, silence may be for ever."""
    assert longest_silence_s(settings) == pytest.approx(expected_s)
