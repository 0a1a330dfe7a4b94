"""How many threads the numerical libraries of a script may start."""

from __future__ import annotations

import sys

import pytest

from azmlinfsrv.settings import rows
from azmlinfsrv.thread_limits import VARIABLES, own_thread_limits, share_interpreter, thread_limits


@pytest.mark.parametrize(
    ("calls", "processors", "machine", "expected"),
    [
        (4, 8, 8, "2"),
        (3, 8, 8, "2"),
        (16, 8, 8, "1"),
        (1, 2, 64, "2"),
        (1, 2.9, 64, "2"),
        (2, 0.5, 64, "1"),
    ],
)
def test_processors_are_shared_out(calls: int, processors: float, machine: int, expected: str) -> None:
    """Every call gets its share of the processors in whole threads, and at least one."""
    assert thread_limits(calls, processors, machine, {}) == dict.fromkeys(VARIABLES, expected)


@pytest.mark.parametrize("machine", [1, 2, 64])
def test_nothing_is_limited_where_all_is_to_be_had(machine: int) -> None:
    """One call at a time on the whole machine: the libraries' own choice stays."""
    assert thread_limits(1, machine, machine, {}) == {}


def test_what_the_user_has_set_stays() -> None:
    """A variable that is set is not touched, whatever its value."""
    for name in VARIABLES[1:]:
        found = thread_limits(4, 4, 4, {name: ""})
        assert found == dict.fromkeys((other for other in VARIABLES if other != name), "1")


def test_the_users_openmp_counts_for_those_that_follow_it() -> None:
    """OMP_NUM_THREADS is what OpenBLAS, MKL, BLIS and numexpr take, so they keep the user's number."""
    assert thread_limits(4, 4, 4, {"OMP_NUM_THREADS": "3"}) == {"VECLIB_MAXIMUM_THREADS": "1"}


def test_more_workers_than_processors() -> None:
    """A thousand workers are more than the processors of any machine here: one thread each, or one processor in all."""
    assert set(own_thread_limits(1024, 1, {}).values()) <= {"1"}
    assert own_thread_limits(32, 32, {}) == own_thread_limits(1024, 1, {})


def test_the_setting() -> None:
    """The limits are on, and a variable of the server's own turns them off."""
    row = rows()["thread_limits_enabled"]
    assert row.default is True
    assert row.spec.variables == ("AZMLINFSRV_THREAD_LIMITS_ENABLED",)


def test_turns() -> None:
    """Threads have their turns in the interpreter every millisecond."""
    before = sys.getswitchinterval()
    try:
        share_interpreter()
        assert sys.getswitchinterval() == pytest.approx(0.001)
    finally:
        sys.setswitchinterval(before)
