"""Whether one more request is taken: bounds of number and bytes, and what is told of refusals."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from azmlinfsrv.admission import COUNTED_BYTES, REPORT_S, SMALL_BODY_BYTES, Admission, Bounds
from azmlinfsrv.errors import OverloadError
from tests.unit.http_fakes import logged, request

MIB = 1024 * 1024


def take(admission: Admission, body_bytes: int = 0) -> None:
    """Have a request taken, as the runner does."""
    admission.check(request("POST", "/score", b"x" * body_bytes))
    admission.pending += 1


def refusal(admission: Admission, body_bytes: int = 0) -> OverloadError:
    """Return why a request is not taken."""
    with pytest.raises(OverloadError) as caught:
        take(admission, body_bytes)
    return caught.value


def test_the_number_of_requests() -> None:
    """As many are taken as run() works on and may wait besides; one more is 503, until one of them is answered."""
    admission = Admission(Bounds(waiting=2), slots=3)
    for _ in range(5):
        take(admission)
    refused = refusal(admission)
    assert (refused.status, refused.reason) == (503, "queue_full")
    admission.release(request())
    take(admission)


def test_a_batch_has_room() -> None:
    """What a call can be given at once does not wait."""
    admission = Admission(Bounds(waiting=0), slots=2, batch=4)
    for _ in range(8):
        take(admission)
    assert refusal(admission).reason == "queue_full"


def test_the_bytes_of_bodies() -> None:
    """Bodies count until their answers; one that would exceed the bound is 503, and a smaller one is taken."""
    admission = Admission(Bounds(body_bytes=10 * MIB))
    take(admission, 6 * MIB)
    refused = refusal(admission, 5 * MIB)
    assert (refused.status, refused.reason) == (503, "queue_bytes")
    take(admission, 4 * MIB)
    admission.release(request("POST", "/score", b"x" * 6 * MIB))
    admission.release(request("POST", "/score", b"x" * 4 * MIB))
    assert (admission.held_bytes, admission.pending) == (0, 0)


def test_one_body_is_always_taken() -> None:
    """A body that is larger than the bound is taken where no other is held: else it could never be."""
    admission = Admission(Bounds(body_bytes=MIB))
    take(admission, 2 * MIB)
    assert refusal(admission, 2 * MIB).reason == "queue_bytes"


def test_small_bodies_do_not_count() -> None:
    """Bodies that take no more memory than their requests are bounded by the number of requests."""
    admission = Admission(Bounds(body_bytes=1))
    for _ in range(10):
        take(admission, COUNTED_BYTES)
    assert admission.held_bytes == 0


@pytest.mark.parametrize(("own", "others"), [(4, 0), (1, 3), (0, 9)])
def test_concurrent_requests(own: int, others: int) -> None:
    """Beyond the number of requests of all workers together a request is 429."""
    admission = Admission(Bounds(concurrent=4))
    for _ in range(own):
        take(admission)
    admission.others = lambda: others
    refused = refusal(admission)
    assert (refused.status, refused.reason) == (429, "concurrency")
    admission.others = lambda: 0
    if own < 4:
        take(admission)


def test_which_requests_are_checked() -> None:
    """The runner asks only where the answer may be no: from the last place on, or always, where workers count."""
    assert Admission().watched == float("inf")
    assert Admission(Bounds(waiting=2), slots=1).watched == 3
    assert Admission(Bounds(waiting=2, concurrent=100)).watched == 0


# -- bodies that arrive ------------------------------------------------------------------------------------------------


def test_large_bodies_count_while_they_arrive() -> None:
    """What has arrived of them is held; small ones are not counted before they are whole."""
    admission = Admission(Bounds(body_bytes=10 * MIB))
    assert admission.arriving(0, SMALL_BODY_BYTES, SMALL_BODY_BYTES) == 0
    held = admission.arriving(0, 100, 5 * MIB)
    held = admission.arriving(held, MIB, 5 * MIB)
    held = admission.arriving(held, 3 * MIB, 5 * MIB)
    assert admission.held_bytes == held == 3 * MIB


def test_a_body_that_will_not_fit() -> None:
    """A body is refused at its header, if its length does not fit besides what is there."""
    admission = Admission(Bounds(body_bytes=10 * MIB))
    take(admission, 8 * MIB)
    with pytest.raises(OverloadError, match="too large bodies"):
        admission.arriving(0, 0, 3 * MIB)
    assert admission.arriving(0, 0, 2 * MIB) == 0
    assert admission.held_bytes == 8 * MIB


def test_bodies_that_grow_too_large_together() -> None:
    """Of bodies without a length that arrive at the same time those are refused that find no room for more."""
    admission = Admission(Bounds(body_bytes=2 * MIB))
    held, refused = [0] * 40, 0
    for size in range(100_000, 1_000_001, 100_000):
        for number, before in enumerate(held):
            if before >= 0:
                try:
                    held[number] = admission.arriving(before, size, 0)
                except OverloadError:
                    refused += 1
                    held[number] = -1
                assert admission.held_bytes <= 2 * MIB
    whole = [size for size in held if size == 1_000_000]
    assert len(whole) == 2
    assert refused == 38
    assert admission.held_bytes == 2_000_000


def test_a_large_body_is_not_awaited_in_vain() -> None:
    """Where no request would be taken, a large body is refused at its header."""
    full, crowded = Admission(Bounds(waiting=0)), Admission(Bounds(concurrent=1))
    for admission, status in ((full, 503), (crowded, 429)):
        take(admission)
        with pytest.raises(OverloadError) as caught:
            admission.arriving(0, 0, MIB)
        assert caught.value.status == status


# -- what is told ------------------------------------------------------------------------------------------------------


class Later:
    """Keeps what is to be called later."""

    def __init__(self) -> None:
        self.calls: list[tuple[float, Callable[[], None]]] = []

    def __call__(self, delay_s: float, function: Callable[[], None]) -> None:
        """Keep a call."""
        self.calls.append((delay_s, function))

    def make(self) -> None:
        """Make the one call that is due."""
        ((delay_s, function),) = self.calls
        assert delay_s == REPORT_S
        self.calls.clear()
        function()


def test_a_time_of_refusals_in_the_log() -> None:
    """The log tells when it begins, how many there were in each while, and when it is over; not of each."""
    admission, later = Admission(Bounds(waiting=0)), Later()
    admission.attach(later)
    counted: list[str] = []
    admission.count = counted.append
    take(admission)
    with logged("azmlinfsrv") as messages:
        for _ in range(3):
            refusal(admission)
        assert messages == ["Requests are refused (queue_full): Too many requests wait already."]
        states = [admission.is_refusing]
        later.make()
        later.make()
        assert messages[1:] == [
            "3 requests were refused in 10 s: queue_full 3.",
            "Requests are taken again; 3 were refused.",
        ]
        assert [*states, admission.is_refusing] == [True, False]
        assert later.calls == []
        refusal(admission)
        assert len(messages) == 4
    assert counted == ["queue_full"] * 4


def test_when_to_come_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retry-After is what the first in the queue has waited, or what the queue takes at the pace lately; at least 1."""
    now = 100.0
    monkeypatch.setattr("azmlinfsrv.admission.time.perf_counter", lambda: now)
    admission = Admission(Bounds(waiting=9))
    answered = 0
    admission.answered = lambda: answered
    for _ in range(10):
        take(admission)
    assert refusal(admission).retry_after_s == 1
    admission.waited_s = lambda: 2.5
    assert refusal(admission).retry_after_s == 3
    now, answered = 102.0, 4  # half a second each, ten are pending
    assert refusal(admission).retry_after_s == 5
    admission.waited_s = lambda: 1e9
    assert refusal(admission).retry_after_s == 3600
