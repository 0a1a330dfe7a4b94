"""The deadline of a call of ``run()``: SCORING_TIMEOUT_MS.

The I/O thread keeps the time and interrupts the thread that is too late, so that a call costs no system call.
The main thread is interrupted by a signal, which also ends blocking calls; another thread by an asynchronous
exception, which ends Python code only.
A call that has not ended soon after is given up: its requests get their answer, and what comes of it later is dropped.
"""

from __future__ import annotations

import math
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from types import FrameType, TracebackType
from typing import Any, NamedTuple

from azmlinfsrv.errors import CallerTimeoutError, RunTimeoutError, ScoringInterrupt
from azmlinfsrv.messages import Request, Response

# Ignored by default, so a late one does no harm; not used by gunicorn, asyncio or users' timers (SIGALRM).
_SIGNAL: int | None = getattr(signal, "SIGURG", None)
_REPEAT_S = 1.0
# A signal that arrives while the main thread goes to sleep may not wake it: sent again until its handler has run.
_RESEND_S = 0.02
# How long an interrupted call may take to end before its requests are answered without it.
GIVE_UP_S = 0.1

Done = Callable[[Request, Response], None]
Job = tuple[Request, Done]
# Takes the requests of a call that is given up, their error, and how long the call has lasted, in seconds.
GiveUp = Callable[[Sequence[Job], RunTimeoutError, float], None]


class LateCall(NamedTuple):
    """A call that was given up and has not come back.

    Attributes:
        number: tells it from others of its thread.
        late_s: how long ago it was given up, in seconds.
        thread: its thread's id.
        requests: the requests that it was made for.
        blocks_all: whether no other request can be scored meanwhile.
    """

    number: int
    late_s: float
    thread: int
    requests: tuple[Request, ...]
    blocks_all: bool


class Deadline:
    """Calls functions on one scoring thread and ends those that take too long.

    Args:
        timeout_ms: how long a call may take; 0 is any time.
        by_signal: whether the calls are made in the main thread of a system with signals.
        give_up: answers the requests of a call that does not end at its deadline, on the I/O thread; or None.

    Attributes:
        jobs: the requests that the calls are made for; set by the scoring thread.
        blocks_all: whether other threads cannot go on before the call has ended; set by the scoring thread.
        until: `time.perf_counter` at which the call that comes or runs is too late, however short it is: its caller
            waits no longer. Infinite where that is not known; set on the thread that calls.
    """

    def __init__(self, timeout_ms: int, by_signal: bool, give_up: GiveUp | None = None) -> None:
        self.timeout_ms = timeout_ms
        self.until = math.inf
        self._timeout_s = timeout_ms / 1000 if timeout_ms else math.inf
        self._give_up = give_up
        self.jobs: Sequence[Job] = ()
        self.blocks_all = False
        self._by_signal = by_signal and _SIGNAL is not None
        self._set_exception = _nothing if self._by_signal else _exception_setter()
        self._lock = threading.Lock()
        self._thread = 0
        self._call = 0
        self._started: float | None = None
        self._expired = self._raised = self._given_up = -1
        self._given_up_at = 0.0

    def install(self) -> Callable[[], None]:
        """Take over the calling thread; returns the function that undoes it."""
        self._thread = threading.get_ident()
        if not self._by_signal or _SIGNAL is None:
            return lambda: None
        number = _SIGNAL
        previous = signal.signal(number, self._on_signal)

        def undo() -> None:
            signal.signal(number, previous)

        return undo

    def call(self, function: Callable[..., Any], arguments: dict[str, Any]) -> Any:
        """Return what the function returns.

        Raises:
            RunTimeoutError: it was interrupted at the deadline; a `CallerTimeoutError` at the caller's.
        """
        try:
            try:
                self._call += 1
                self._started = time.perf_counter()
                return function(**arguments)
            finally:
                if self._by_signal:
                    self._started = None
                else:
                    self._finish()
        except ScoringInterrupt as interrupt:
            self._started = None
            late = CallerTimeoutError if time.perf_counter() >= self.until else RunTimeoutError
            raise late(self.timeout_ms) from interrupt

    def check(self, now: float) -> float:
        """Interrupt the call if it is too late, and give it up if that was of no use; called on the I/O thread.

        Args:
            now: `time.perf_counter`.

        Returns:
            After how many seconds to check again.
        """
        with self._lock:
            call, started, until, jobs = self._call, self._started, self.until, self.jobs
            if started is None or started != self._started:
                return min(self._timeout_s, max(until - now, _RESEND_S))
            late_s = now - min(started + self._timeout_s, until)
            if late_s < 0:
                return -late_s
            # The call may swallow the interrupt or be stuck in native code: it is sent again.
            self._expired = call
            self._interrupt()
            again_s = _REPEAT_S if self._raised == call or not self._by_signal else _RESEND_S
            if self._given_up == call or self._give_up is None:
                return again_s
            if late_s < GIVE_UP_S:
                return min(again_s, GIVE_UP_S - late_s)
            # A caller's own deadline ends its waiting, but says nothing of how long a call may take to come back.
            self._given_up, self._given_up_at = call, max(now, started + self._timeout_s + GIVE_UP_S)
        error = (CallerTimeoutError if until < started + self._timeout_s else RunTimeoutError)(self.timeout_ms)
        error.__cause__ = self._interrupt_here()
        self._give_up(jobs, error, now - started)
        return again_s

    def late_call(self, now: float) -> LateCall | None:
        """Return the call that was given up and still goes on, or None; called on the I/O thread."""
        call, jobs = self._call, self.jobs
        if self._given_up != call or self._started is None or self._call != call:
            return None
        requests = tuple(request for request, _ in jobs)
        return LateCall(call, now - self._given_up_at, self._thread, requests, self.blocks_all)

    def _interrupt_here(self) -> ScoringInterrupt:
        """Return the interrupt as if it had been raised where the scoring thread is now."""
        trace: TracebackType | None = None
        frame: FrameType | None = sys._current_frames().get(self._thread)
        while frame is not None and frame.f_code is not Deadline.call.__code__:
            # What the compiler adds has no line, as the end of an except block, or generated code.
            line = frame.f_lineno or frame.f_code.co_firstlineno
            trace = TracebackType(trace, frame, frame.f_lasti, line)
            frame = frame.f_back
        return ScoringInterrupt().with_traceback(trace if frame is not None else None)

    def _interrupt(self) -> None:
        if self._by_signal and _SIGNAL is not None:
            signal.pthread_kill(self._thread, _SIGNAL)
        else:
            self._set_exception(self._thread, ScoringInterrupt)

    def _on_signal(self, number: int, frame: object) -> None:
        """Raise in the main thread, unless the call that was too late has ended meanwhile."""
        if self._started is not None and self._expired == self._call:
            self._raised = self._call
            raise ScoringInterrupt

    def _finish(self) -> None:
        """End a call, and take back an exception that has not been raised yet: it is not the next call's."""
        with self._lock:
            self._started = None
            if self._expired == self._call:
                self._set_exception(self._thread, None)


def _exception_setter() -> Callable[[int, type[BaseException] | None], object]:
    """Return what raises an exception in a thread, given its id, or takes back one that has not been raised yet."""
    import ctypes  # takes 4 ms, which the main thread's deadline does not need

    def set_exception(thread: int, kind: type[BaseException] | None) -> None:
        exception = None if kind is None else ctypes.py_object(kind)
        ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), exception)

    return set_exception


def _nothing(_: int, __: type[BaseException] | None) -> None:
    """Do nothing: a signal is what interrupts."""
