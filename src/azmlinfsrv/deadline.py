"""The deadline of a call of ``run()``: SCORING_TIMEOUT_MS.

The I/O thread keeps the time and interrupts the thread that is too late, so that a call costs no system call.
The main thread is interrupted by a signal, which also ends blocking calls; another thread by an asynchronous
exception, which ends Python code only.
"""

from __future__ import annotations

import math
import signal
import threading
import time
from collections.abc import Callable
from typing import Any

from azmlinfsrv.errors import CallerTimeoutError, RunTimeoutError, ScoringInterrupt

# Ignored by default, so a late one does no harm; not used by gunicorn, asyncio or users' timers (SIGALRM).
_SIGNAL: int | None = getattr(signal, "SIGURG", None)
_REPEAT_S = 1.0
# A signal that arrives while the main thread goes to sleep may not wake it: sent again until its handler has run.
_RESEND_S = 0.02


class Deadline:
    """Calls functions on one scoring thread and ends those that take too long.

    Args:
        timeout_ms: how long a call may take; 0 is any time.
        by_signal: whether the calls are made in the main thread of a system with signals.

    Attributes:
        until: `time.perf_counter` at which the call that comes or runs is too late, however short it is: its caller
            waits no longer. Infinite where that is not known; set on the thread that calls.
    """

    def __init__(self, timeout_ms: int, by_signal: bool) -> None:
        self.timeout_ms = timeout_ms
        self.until = math.inf
        self._timeout_s = timeout_ms / 1000 if timeout_ms else float("inf")
        self._by_signal = by_signal and _SIGNAL is not None
        self._set_exception = _nothing if self._by_signal else _exception_setter()
        self._lock = threading.Lock()
        self._thread = 0
        self._call = 0
        self._started: float | None = None
        self._expired = self._raised = -1

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
        """Interrupt the call if it is too late; called on the I/O thread.

        Args:
            now: `time.perf_counter`.

        Returns:
            After how many seconds to check again.
        """
        with self._lock:
            call, started = self._call, self._started
            if started is None:
                return min(self._timeout_s, max(self.until - now, _RESEND_S))
            left = min(started + self._timeout_s, self.until) - now
            if left > 0:
                return left
            # The call may swallow the interrupt or be stuck in native code: it is sent again.
            self._expired = call
            self._interrupt()
            return _REPEAT_S if self._raised == call or not self._by_signal else _RESEND_S

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
