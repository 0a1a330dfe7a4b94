"""The policy of batches: who makes one, and how long it waits for company."""

from __future__ import annotations

import functools
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from azmlinfsrv import batched
from azmlinfsrv.batching import BatchLimits, Company, Line, marked_limits


class Waiter(NamedTuple):
    """Who waits for a batch."""

    number: int
    key: object
    rows: int


waiters = st.lists(st.tuples(st.sampled_from("ab"), st.integers(1, 12)), max_size=40)


class Odd:
    """A value that cannot say what it is equal to."""

    __hash__ = None  # type: ignore[assignment]  # as a class with __eq__ has it

    def __eq__(self, other: object) -> bool:
        raise TypeError


def line_of(*members: tuple[object, int], max_rows: int = 8) -> Line[Waiter]:
    """Return a line of members with these keys and rows."""
    line: Line[Waiter] = Line(max_rows)
    for number, (key, rows) in enumerate(members):
        line.add(Waiter(number, key, rows))
    return line


def numbers(batch: list[Waiter]) -> list[int]:
    """Return who is in a batch."""
    return [member.number for member in batch]


@given(waiters, st.integers(1, 10))
def test_batches_never_exceed_the_size(members: list[tuple[str, int]], max_rows: int) -> None:
    """Everybody is in one batch, of equal keys, in order, and no batch of several has more rows than the size."""
    line = line_of(*members, max_rows=max_rows)
    seen = []
    while line:
        first = next(iter(line)).number
        batch = line.take()
        assert batch[0].number == first
        assert numbers(batch) == sorted(numbers(batch))
        assert len({member.key for member in batch}) == 1
        assert len(batch) == 1 or sum(member.rows for member in batch) <= max_rows
        seen += numbers(batch)
    assert sorted(seen) == list(range(len(members)))


@given(waiters, st.integers(1, 10))
def test_a_line_is_full_when_more_would_not_help(members: list[tuple[str, int]], max_rows: int) -> None:
    """A line that is full makes a batch to which one more of the same rows would not fit, or that is too large."""
    line = line_of(*members, max_rows=max_rows)
    left_behind = bool(line) and line.is_full
    if line:
        batch = line.take()
        rows = sum(member.rows for member in batch)
        fits = [each for each in line if each.key == batch[0].key and rows + each.rows <= max_rows]
        assert not fits
        same = [each for each in line if each.key == batch[0].key]
        assert left_behind == (rows >= max_rows or bool(same))


def test_what_does_not_fit_waits_for_the_next_batch() -> None:
    """A smaller request may take the place of a larger one, which is then the first of the next batch."""
    line = line_of(("a", 6), ("a", 4), ("a", 2))
    assert [line.is_full, numbers(line.take())] == [True, [0, 2]]
    assert [line.is_full, numbers(line.take())] == [False, [1]]


def test_a_line_that_was_emptied_is_not_full() -> None:
    """A batch that took everybody leaves room for the next."""
    line = line_of(("a", 8))
    assert [line.is_full, bool(line.take()), line.is_full, len(line)] == [True, True, False, 0]


@given(waiters, st.integers(1, 10), st.sets(st.integers(0, 39)))
def test_those_who_leave_make_room(members: list[tuple[str, int]], max_rows: int, gone: set[int]) -> None:
    """A line that some have left is as it would be had they never come."""
    line = line_of(*members, max_rows=max_rows)
    line.keep(lambda member: member.number not in gone)
    rest = [member for number, member in enumerate(members) if number not in gone]
    never = line_of(*rest, max_rows=max_rows)
    assert (len(line), line.is_full) == (len(never), never.is_full)
    while line:
        batch, expected = line.take(), never.take()
        assert [member[1:] for member in batch] == [member[1:] for member in expected]
        assert gone.isdisjoint(numbers(batch))


def test_a_request_larger_than_the_size_runs_alone() -> None:
    """It does not wait, and nobody joins it."""
    line = line_of(("a", 20), ("a", 1))
    assert line.is_full
    assert numbers(line.take()) == [0]


def test_keys_that_cannot_be_compared_do_not_join() -> None:
    """A user's value whose comparison raises keeps its request alone, and harms nobody."""
    line = line_of((("x", Odd()), 1), (("x", Odd()), 1), (("y",), 1))
    assert [numbers(line.take()) for _ in range(3)] == [[0], [1], [2]]


def test_a_lone_request_on_an_idle_server_does_not_wait() -> None:
    """Neither the first request of a server waits, nor one that comes long after the last."""
    company = Company(0.01)
    assert company.patience_s(5.0, 1) == 0
    company.ended(5.1, 5.1, 1.0, 1, [])
    assert company.patience_s(5.1001, 1) == 0
    assert company.patience_s(9.0, 1) == 0


def test_a_batch_waits_for_the_clients_of_the_last() -> None:
    """After a batch of five, the next waits until five are there, but not beyond its time."""
    company = Company(0.01)
    company.ended(1.0, 1.0, 1.0, 5, [])
    assert company.patience_s(1.002, 3) == pytest.approx(0.008)
    assert company.patience_s(1.002, 5) == 0
    assert company.patience_s(1.011, 3) == 0


def test_one_wait_in_vain_is_enough() -> None:
    """When the others have left, one batch waits for them, and the next does not."""
    company = Company(0.01)
    company.ended(1.0, 1.0, 1.0, 5, [])
    assert company.patience_s(1.001, 1) > 0
    company.ended(1.02, 1.02, 1.0, 1, [])
    assert company.patience_s(1.021, 1) == 0


def test_requests_that_came_in_time_for_the_last_batch_are_expected() -> None:
    """Who arrived within the time that the last batch might have waited counts, who came later does not."""
    company = Company(0.01)
    company.ended(1.0, 1.0, 1.0, 2, [])
    company.ended(1.1, 1.1, 1.0, 2, [1.004, 1.009, 1.05])
    assert company.patience_s(1.101, 3) > 0
    assert company.patience_s(1.101, 4) == 0


def test_a_client_that_is_back_is_not_counted_twice() -> None:
    """Who asks again before the batch that answered him is over is one of its requests."""
    company = Company(0.01)
    company.ended(1.0, 1.0, 1.0, 2, [])
    company.ended(1.005, 1.003, 1.0, 2, [1.002, 1.004])
    assert company.patience_s(1.006, 2) > 0
    assert company.patience_s(1.006, 3) == 0


def test_a_wait_is_no_longer_than_a_call() -> None:
    """After a call of 1 ms, a batch waits for 1 ms at the most, whatever it might."""
    company = Company(0.01)
    company.ended(1.0, 1.0, 0.001, 5, [])
    assert company.patience_s(1.0, 3) == pytest.approx(0.001)
    assert company.patience_s(1.002, 3) == 0


def test_no_wait_is_no_wait() -> None:
    """max_wait_ms=0 takes what is there."""
    company = Company(0)
    company.ended(1.0, 1.0, 1.0, 5, [])
    assert company.patience_s(1.0, 1) == 0


def test_the_decorator_keeps_the_function() -> None:
    """`@batched` marks the function and returns it; a decorator around it hides nothing."""

    def run(data: object) -> object:
        return data

    assert batched(max_batch_size=4, max_wait_ms=2)(run) is run
    assert marked_limits(run) == BatchLimits(4, 2)
    assert marked_limits(functools.partial(run)) == BatchLimits(4, 2)
    assert marked_limits(batched()(lambda data: data)) == BatchLimits(32, 5.0)
    assert marked_limits(print) is None


@pytest.mark.parametrize("limits", [{"max_batch_size": 0}, {"max_wait_ms": -1}, {"max_wait_ms": float("nan")}])
def test_limits_out_of_range_are_refused(limits: dict[str, float]) -> None:
    """A size below 1 or a wait that is no time is an error of the script."""
    with pytest.raises(ValueError, match="must be at least"):
        batched(**limits)  # type: ignore[arg-type]  # what a script may get wrong
