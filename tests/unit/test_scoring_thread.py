"""The thread in which a script is loaded and called."""

from __future__ import annotations

import threading

import pytest

from azmlinfsrv.scoring_thread import ScoringThread

PATIENCE_S = 15.0


def test_calls_in_turn() -> None:
    """All calls are made in one thread, in order, also after one that raised; then it ends."""
    seen: list[int] = []

    def call() -> threading.Thread:
        seen.append(len(seen))
        return threading.current_thread()

    def fail() -> None:
        raise SystemExit(3)

    thread = ScoringThread()
    first, failed, last = thread.call(call), thread.call(fail), thread.call(call)
    assert first.result(PATIENCE_S) is last.result(PATIENCE_S)
    with pytest.raises(SystemExit):
        failed.result(PATIENCE_S)
    assert seen == [0, 1]
    thread.end()
    assert not first.result().is_alive()


def test_end_waits_no_longer_than_told() -> None:
    """A call that does not come back keeps nobody waiting."""
    thread, go_on = ScoringThread(), threading.Event()
    stuck = thread.call(lambda: go_on.wait(PATIENCE_S))
    thread.end(0.01)
    assert not stuck.done()
    go_on.set()
    assert stuck.result(PATIENCE_S)
