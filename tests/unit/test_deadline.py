"""The deadline of a call of `run()`, with real signals and real threads."""

from __future__ import annotations

import contextlib
import math
import queue
import random
import select
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from azmlinfsrv import deadline as deadline_module
from azmlinfsrv.deadline import Deadline
from azmlinfsrv.errors import CallerTimeoutError, RunTimeoutError, ScoringInterrupt

LONG_S = 30.0
HAMMER_S = 1.0
AFTER_INTERRUPT_S = 1.0


@pytest.fixture
def installed() -> Iterator[Callable[[int], Deadline]]:
    """A function that makes a deadline of this thread, which is the main thread, by signal."""
    undo: list[Callable[[], None]] = []

    def make(timeout_ms: int) -> Deadline:
        made = Deadline(timeout_ms, by_signal=True)
        undo.append(made.install())
        return made

    before = signal.getsignal(signal.SIGURG)
    yield make
    for function in reversed(undo):
        function()
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGURG})
    assert signal.getsignal(signal.SIGURG) == before


@contextlib.contextmanager
def watching(deadline: Deadline, most_s: float = 0.05) -> Iterator[None]:
    """Check a deadline in a thread of its own, when it says so and at least every `most_s`."""
    stop = threading.Event()

    def watch() -> None:
        after_s = 0.0
        while not stop.wait(min(after_s, most_s)):
            after_s = deadline.check(time.perf_counter())

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(LONG_S)
        assert not thread.is_alive()


def in_thread(function: Callable[[], Any]) -> Any:
    """Return what a function returns in a thread of its own."""
    results: queue.SimpleQueue[tuple[Any, BaseException | None]] = queue.SimpleQueue()

    def run() -> None:
        try:
            results.put((function(), None))
        except BaseException as error:  # noqa: BLE001 - raised again in the test
            results.put((None, error))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(LONG_S)
    result, error = results.get(timeout=1)
    if error is not None:
        raise error
    return result


def spin() -> None:
    """Compute for ever."""
    while True:
        pass


def late() -> float:
    """Return a time at which every call is too late."""
    return time.perf_counter() + 10_000


# -- Calls that are in time ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("by_signal", [True, False])
def test_a_call_returns_what_the_function_returns(by_signal: bool) -> None:
    """Arguments are passed by name, and the result comes back."""
    deadline = Deadline(1000, by_signal)
    assert deadline.call(lambda a, b: (a, b), {"a": 1, "b": 2}) == (1, 2)


@pytest.mark.parametrize("by_signal", [True, False])
@pytest.mark.parametrize("error", [ValueError("x"), TimeoutError(), SystemExit(1), KeyboardInterrupt()])
def test_errors_of_the_function_are_its_own(error: BaseException, by_signal: bool) -> None:
    """What the function raises comes out as it is, a TimeoutError of the user's own too."""
    deadline = Deadline(1000, by_signal)

    def fail() -> None:
        raise error

    with pytest.raises(type(error)) as caught:
        deadline.call(fail, {})
    assert caught.value is error
    assert deadline.check(late()) == 1.0


def test_when_to_check_again(installed: Callable[[int], Deadline]) -> None:
    """Without a call a check is due after the whole time; during one, when its time is up."""
    deadline = installed(5000)
    assert deadline.check(time.perf_counter()) == deadline.check(late()) == 5.0
    assert 0 < deadline.call(lambda: deadline.check(time.perf_counter() + 2), {}) <= 3.0
    assert deadline.check(late()) == 5.0


def test_a_call_may_have_any_time(installed: Callable[[int], Deadline]) -> None:
    """A deadline of 0 is none: nothing is ever too late."""
    deadline = installed(0)
    assert deadline.call(deadline.check, {"now": late()}) > 3600
    assert deadline.check(late()) > 3600


# -- Calls that are too late -----------------------------------------------------------------------------------------

BLOCKING = {
    "sleep": lambda: time.sleep(LONG_S),
    "spin": spin,
    "event": lambda: threading.Event().wait(LONG_S),
    "queue": lambda: queue.Queue[int]().get(timeout=LONG_S),
    "simple-queue": lambda: queue.SimpleQueue[int]().get(timeout=LONG_S),
    "select": lambda: select.select([], [], [], LONG_S),
    "sort": lambda: [sorted(range(1000), key=str) for _ in iter(int, 1)],
}


# The interpreter swallows what is raised in a callback of its own, as of a weak reference: it is raised again later.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("name", BLOCKING)
def test_a_call_is_interrupted(installed: Callable[[int], Deadline], name: str) -> None:
    """Python code and blocking calls of the main thread end at the deadline, with the released server's message."""
    deadline = installed(30)
    started = time.perf_counter()
    with watching(deadline), pytest.raises(RunTimeoutError) as caught:
        deadline.call(BLOCKING[name], {})
    elapsed = time.perf_counter() - started
    assert 0.03 <= elapsed < LONG_S / 2
    assert caught.value.message == "Scoring timeout after 30 ms"
    assert isinstance(caught.value.__cause__, ScoringInterrupt)


def test_the_next_call_has_its_whole_time(installed: Callable[[int], Deadline]) -> None:
    """After a call that was interrupted, the next one is not: its time begins anew."""
    deadline = installed(200)
    with watching(deadline):
        for _ in range(2):
            with pytest.raises(RunTimeoutError):
                deadline.call(spin, {})
            assert deadline.call(lambda: "in time", {}) == "in time"


def test_the_users_except_exception_does_not_swallow_it(installed: Callable[[int], Deadline]) -> None:
    """`except Exception`, however often, does not keep a call alive."""
    deadline = installed(30)

    def keep_on() -> None:
        while True:
            with contextlib.suppress(Exception):
                time.sleep(LONG_S)

    with watching(deadline), pytest.raises(RunTimeoutError):
        deadline.call(keep_on, {})


def test_a_bare_except_is_interrupted_again(installed: Callable[[int], Deadline]) -> None:
    """An interrupt that the user's code swallows is sent again."""
    deadline = installed(30)
    swallowed: list[str] = []

    def stubborn() -> None:
        try:
            deadline.check(late())
            spin()
        except:  # noqa: E722 - what users write
            swallowed.append("interrupt")
        deadline.check(late())
        spin()

    with pytest.raises(RunTimeoutError):
        deadline.call(stubborn, {})
    assert swallowed == ["interrupt"]


def test_clean_up_has_a_second(installed: Callable[[int], Deadline]) -> None:
    """An interrupt that was raised is sent again a second later, so that the user's clean-up can end."""
    deadline = installed(30)
    after_s: list[float] = []

    def work() -> None:
        try:
            deadline.check(late())
            spin()
        finally:
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGURG})
            after_s.append(deadline.check(late()))

    with pytest.raises(RunTimeoutError):
        deadline.call(work, {})
    assert after_s == [AFTER_INTERRUPT_S]


def test_an_interrupt_that_is_not_heard_is_sent_again_soon(installed: Callable[[int], Deadline]) -> None:
    """A signal whose handler has not run is due again long before a second has passed."""
    deadline = installed(3_600_000)

    def work() -> float:
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGURG})
        return deadline.check(late())

    assert 0 < deadline.call(work, {}) <= 0.1


def test_clean_up_runs(installed: Callable[[int], Deadline]) -> None:
    """The user's `finally` and `with` blocks run when a call is interrupted."""
    deadline = installed(30)
    cleaned = []

    def work() -> None:
        try:
            spin()
        finally:
            cleaned.append(True)

    with watching(deadline), pytest.raises(RunTimeoutError):
        deadline.call(work, {})
    assert cleaned == [True]


# -- Never the next call ---------------------------------------------------------------------------------------------


def interrupted_late(deadline: Deadline) -> None:
    """Make a call that ends while an interrupt of it is under way: the signal is held back."""

    def work() -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGURG})
        deadline.check(late())

    deadline.call(work, {})
    assert signal.SIGURG in signal.sigpending()


def test_a_late_signal_between_calls_does_nothing(installed: Callable[[int], Deadline]) -> None:
    """A signal that arrives when its call has ended, and no other has begun, is ignored."""
    deadline = installed(1000)
    interrupted_late(deadline)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGURG})
    assert signal.SIGURG not in signal.sigpending()


def test_a_late_signal_does_not_hit_the_next_call(installed: Callable[[int], Deadline]) -> None:
    """A signal that arrives when the next call has begun does not end it; that call's own signal does."""
    deadline = installed(1000)
    interrupted_late(deadline)

    def work() -> str:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGURG})
        return "not interrupted"

    assert deadline.call(work, {}) == "not interrupted"

    def too_late() -> None:
        deadline.check(late())
        spin()

    with pytest.raises(RunTimeoutError):
        deadline.call(too_late, {})


def test_a_signal_from_elsewhere_does_nothing(installed: Callable[[int], Deadline]) -> None:
    """A signal of the same number that the deadline has not sent does not end a call."""
    deadline = installed(1000)
    assert deadline.call(lambda: signal.raise_signal(signal.SIGURG), {}) is None


class Hammer:
    """Calls of about the length of the deadline, one after another, while another thread checks all the time.

    Args:
        deadline: the deadline.
        ahead_s: how far the clock of the checks is ahead.
    """

    def __init__(self, deadline: Deadline, ahead_s: float) -> None:
        self.deadline = deadline
        self.ahead_s = ahead_s
        self.random = random.Random(5)  # noqa: S311 - lengths of calls
        self.number = 0
        self.stop = False

    def check(self) -> None:
        """Check without a pause, but a call that was interrupted no sooner than is due."""
        number, again = -1, 0.0
        while not self.stop:
            now = time.perf_counter()
            if number == self.number and now < again:
                continue
            number = self.number
            again = now + self.deadline.check(now + self.ahead_s)

    def calls(self, shortest: float, longest: float) -> tuple[int, int]:
        """Make calls for a while; return how many ended in time and how many were interrupted."""
        in_time = interrupted = 0
        until = time.perf_counter() + HAMMER_S
        checker = threading.Thread(target=self.check)
        interval = sys.getswitchinterval()
        sys.setswitchinterval(1e-5)
        checker.start()
        try:
            while time.perf_counter() < until:
                self.number += 1
                length = self.random.uniform(shortest, longest)
                started = time.perf_counter()
                try:
                    assert self.deadline.call(self.work, {"until": started + length}) == "done"
                    in_time += 1
                except RunTimeoutError:
                    elapsed_s = time.perf_counter() - started + self.ahead_s
                    assert elapsed_s * 1000 >= self.deadline.timeout_ms, "interrupted before its time"
                    interrupted += 1
        finally:
            self.stop = True
            checker.join(LONG_S)
            sys.setswitchinterval(interval)
        return in_time, interrupted

    def work(self, until: float) -> str:
        """Compute until a time."""
        while time.perf_counter() < until:
            pass
        return "done"


@pytest.mark.parametrize(("ahead_s", "shortest", "longest"), [(0.0, 0.001, 0.003), (1.0, 0.0, 0.00002)])
@pytest.mark.parametrize("by_signal", [True, False], ids=["signal", "thread"])
def test_hammer(by_signal: bool, ahead_s: float, shortest: float, longest: float) -> None:
    """Calls that end just at their deadline return or are interrupted, and nothing outside of a call ever is.

    With the clock ahead every call is too late, so that interrupts meet the beginnings and the ends of calls.
    """

    def calls() -> tuple[int, int]:
        deadline = Deadline(2, by_signal)
        undo = deadline.install()
        try:
            return Hammer(deadline, ahead_s).calls(shortest, longest)
        finally:
            undo()

    in_time, interrupted = calls() if by_signal else in_thread(calls)
    assert in_time and interrupted


# -- Other threads ---------------------------------------------------------------------------------------------------


def call_in_thread(timeout_ms: int, function: Callable[[], Any]) -> Any:
    """Return what a call returns in a scoring thread that is not the main thread."""

    def scoring() -> Any:
        deadline = Deadline(timeout_ms, by_signal=False)
        undo = deadline.install()
        try:
            with watching(deadline):
                return deadline.call(function, {})
        finally:
            undo()

    return in_thread(scoring)


def test_python_code_of_a_thread_is_interrupted() -> None:
    """A call in a scoring thread ends at its deadline."""
    with pytest.raises(RunTimeoutError, match="Scoring timeout after 30 ms"):
        call_in_thread(30, spin)


def test_the_users_except_exception_does_not_swallow_it_in_a_thread() -> None:
    """`except Exception` does not keep a call in a thread alive."""

    def keep_on() -> None:
        while True:
            with contextlib.suppress(Exception):
                for _ in range(1000):
                    pass

    with pytest.raises(RunTimeoutError):
        call_in_thread(30, keep_on)


def test_a_thread_is_free_after_a_call() -> None:
    """A call that ends in time leaves nothing that interrupts the thread later."""

    def scoring() -> int:
        deadline = Deadline(1000, by_signal=False)
        deadline.install()
        finished = 0
        for _ in range(1000):
            try:
                deadline.call(deadline.check, {"now": late()})
            except RunTimeoutError:
                finished += 1
            deadline.call(int, {})
        return finished

    assert in_thread(scoring) > 0


# -- The caller's deadline -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("by_signal", [True, False])
def test_a_call_ends_when_its_caller_waits_no_longer(by_signal: bool) -> None:
    """The caller's deadline ends a call that has much time left otherwise; the next call has all of it."""
    deadline = Deadline(60_000, by_signal)
    undo = deadline.install()
    try:
        with watching(deadline):
            deadline.until = time.perf_counter() + 0.05
            with pytest.raises(CallerTimeoutError):
                deadline.call(spin, {})
            deadline.until = math.inf
            assert deadline.call(int, {}) == 0
    finally:
        undo()


def test_a_caller_that_waits_for_long() -> None:
    """A caller's deadline that is later than the setting's changes nothing."""
    deadline = Deadline(30, by_signal=False)
    deadline.install()
    deadline.until = time.perf_counter() + 1000
    with watching(deadline), pytest.raises(RunTimeoutError) as caught:
        deadline.call(spin, {})
    assert type(caught.value) is RunTimeoutError


def test_when_to_check_for_a_caller() -> None:
    """The check comes when the caller's time is over, also when that is known before the call has begun."""
    deadline = Deadline(60_000, by_signal=False)
    now = time.perf_counter()
    assert deadline.check(now) == 60.0
    deadline.until = now + 7
    assert deadline.check(now) == pytest.approx(7)
    assert deadline.check(now + 50) > 0


# -- Installing ------------------------------------------------------------------------------------------------------


def test_undo_restores_the_handler() -> None:
    """The signal's handler is the previous one again."""
    before = signal.getsignal(signal.SIGURG)
    undo = Deadline(1000, by_signal=True).install()
    assert signal.getsignal(signal.SIGURG) != before
    undo()
    assert signal.getsignal(signal.SIGURG) == before


def test_a_thread_leaves_signals_alone() -> None:
    """A deadline of another thread touches no signal."""
    before = signal.getsignal(signal.SIGURG)
    undo = Deadline(1000, by_signal=False).install()
    assert signal.getsignal(signal.SIGURG) == before
    undo()


def test_a_system_without_the_signal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the signal does not exist, Python code of the main thread is interrupted all the same."""
    monkeypatch.setattr(deadline_module, "_SIGNAL", None)
    deadline = Deadline(30, by_signal=True)
    undo = deadline.install()
    with watching(deadline), pytest.raises(RunTimeoutError):
        deadline.call(spin, {})
    undo()
