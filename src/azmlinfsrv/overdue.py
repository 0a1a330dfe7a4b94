"""Calls of coroutines whose deadline has passed while something holds up their event loop."""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import Callable
from typing import Any

from azmlinfsrv.deadline import GIVE_UP_S, Done, GiveUp, Job, LateCall
from azmlinfsrv.errors import CallerTimeoutError, RunTimeoutError
from azmlinfsrv.messages import Request

_LONGEST_WAIT_S = 3600.0


class Overdue:
    """Notes when calls begin and end, in the event loop's thread, and looks at them on the I/O thread.

    Args:
        timeout_ms: how long a call may take; 0 is any time.
        give_up: answers the requests of a call that does not end at its deadline, its own or its caller's.

    Attributes:
        thread: id of the event loop's thread.
    """

    def __init__(self, timeout_ms: int, give_up: GiveUp) -> None:
        self._timeout_ms = timeout_ms
        self._give_up = give_up
        self._calls: dict[Request, tuple[Done, float, asyncio.Task[None] | None]] = {}
        self._given_up: dict[Request, None] = {}
        self._late: dict[Request, None] = {}
        self._asked_at: float | None = None
        self._questions = 0
        self.thread = 0

    def begin(self, request: Request, done: Done, now: float, task: asyncio.Task[None] | None = None) -> None:
        """Note that a call begins.

        Args:
            request: the request that it is made for.
            done: takes the request's answer.
            now: `time.perf_counter`.
            task: what to cancel if it takes too long; None where somebody else does.
        """
        self._calls[request] = done, now, task

    def end(self, request: Request) -> None:
        """Note that the call has ended."""
        self._calls.pop(request, None)
        self._given_up.pop(request, None)
        self._late.pop(request, None)

    def jobs(self) -> list[Job]:
        """Return the requests whose calls go on."""
        return [(request, done) for request, (done, _, _) in list(self._calls.items())]

    def check(self, now: float, loop: asyncio.AbstractEventLoop) -> float:
        """Give up the calls that are too late; returns after how many seconds to check again.

        Args:
            now: `time.perf_counter`.
            loop: the event loop of the calls.
        """
        allowed_s = self._timeout_ms / 1000 + GIVE_UP_S if self._timeout_ms else math.inf
        again_s = min(allowed_s, _LONGEST_WAIT_S)
        for request, (done, began, task) in list(self._calls.items()):
            end = began + allowed_s
            caller_end = request.deadline + GIVE_UP_S if request.deadline else math.inf
            if min(end, caller_end) <= now and request not in self._given_up:
                self._given_up[request] = None
                error = (CallerTimeoutError if caller_end <= now else RunTimeoutError)(self._timeout_ms)
                self._give_up(((request, done),), error, now - began)
                _cancel(loop, task)
            if end <= now and request not in self._late:
                self._late[request] = None
                self._ask(now, loop)
            again_s = min([again_s, *(at - now for at in (end, caller_end) if at > now)])
        return again_s

    def late_calls(self, now: float) -> list[LateCall]:
        """Return what holds the loop up: nothing else can go on in it."""
        asked_at, requests = self._asked_at, tuple(self._late)
        if asked_at is None:
            return []
        return [LateCall(self._questions, now - asked_at, self.thread, requests, blocks_all=True)]

    def _ask(self, now: float, loop: asyncio.AbstractEventLoop) -> None:
        """See whether the loop goes on."""
        with contextlib.suppress(RuntimeError):  # the loop is closed: stopped already
            if self._asked_at is None:
                self._asked_at = now
                self._questions += 1
                loop.call_soon_threadsafe(self._respond)

    def _respond(self) -> None:
        self._asked_at = None


def _cancel(loop: asyncio.AbstractEventLoop, task: asyncio.Task[None] | None) -> None:
    if task is not None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: stopped already
            loop.call_soon_threadsafe(task.cancel)


def watched_call(
    overdue: Overdue, clock: Callable[[], float], request: Request, done: Done
) -> Callable[[Callable[..., Any], dict[str, Any]], Any]:
    """Return what calls functions for a request, in a thread beside the loop, and has them watched."""

    def call(function: Callable[..., Any], arguments: dict[str, Any]) -> Any:
        overdue.begin(request, done, clock())
        try:
            return function(**arguments)
        finally:
            overdue.end(request)

    return call
