"""When a part that died is started again."""

from __future__ import annotations

from azmlinfsrv.child import Part


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
