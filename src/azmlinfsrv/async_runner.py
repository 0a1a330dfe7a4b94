"""Calls an ``async def run()`` for several requests at a time, in an asyncio loop in the main thread."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import math
import threading
import time
from collections import deque
from collections.abc import AsyncIterator
from typing import Any

from azmlinfsrv import capture
from azmlinfsrv.deadline import Done, Job, LateCall
from azmlinfsrv.endings import Drain, nothing
from azmlinfsrv.errors import ClientLeftError, StopServing
from azmlinfsrv.messages import ClientGoneError, Gate, Request, Response
from azmlinfsrv.outputs import error_response
from azmlinfsrv.overdue import Overdue, watched_call
from azmlinfsrv.runner import LONGEST_WAIT_S, STREAM_LIMIT_BYTES, Runner
from azmlinfsrv.scorer import Scorer
from azmlinfsrv.telemetry.metrics import RUNNING


class AsyncRunner(Runner):
    """Calls an ``async def run()``, up to a number of requests at a time, in an asyncio loop in the main thread."""

    def __init__(
        self, scorer: Scorer, timeout_ms: int, write_timeout_ms: int, drain: Drain = nothing, *, limit: int
    ) -> None:
        super().__init__(scorer, timeout_ms, write_timeout_ms, drain)
        self._limit = self.slots = limit
        self._line: deque[Request] = deque()
        self._overdue = Overdue(timeout_ms, self.give_up)
        self._tasks: set[asyncio.Task[None]] = set()
        # The calls and streams that end when their client leaves.
        self._cancellable: dict[Request, asyncio.Task[None]] = {}
        self._loop = asyncio.new_event_loop()
        self._stopping = asyncio.Event()
        self._interrupt: StopServing | None = None

    def _pass_on(self, requests: list[Request]) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: stopped already
            self._loop.call_soon_threadsafe(self._accept, requests)

    def abandon(self, request: Request) -> None:
        """See `Runner.abandon`; a call that runs, or an asynchronous stream, is cancelled."""
        super().abandon(request)
        if not request.dropped:
            with contextlib.suppress(RuntimeError):  # the loop is closed: stopped already
                self._loop.call_soon_threadsafe(self._cancel, request)

    def _cancel(self, request: Request) -> None:
        task = self._cancellable.pop(request, None)
        if task is not None:
            task.cancel()

    def check_deadlines(self, now: float) -> float:
        """See `Runner.check_deadlines`."""
        return self._overdue.check(now, self._loop)

    def _check_callers(self, now: float) -> float:
        if not any(request.deadline for request, _ in self._overdue.jobs()):
            return math.inf
        return self._overdue.check(now, self._loop)

    def late_calls(self, now: float) -> list[LateCall]:
        """See `Endings.late_calls`."""
        return self._overdue.late_calls(now)

    def _working(self) -> list[Job]:
        return self._overdue.jobs()

    def stop(self) -> None:
        """See `Runner.stop`."""
        with contextlib.suppress(RuntimeError):  # the loop is closed: stopped already
            self._loop.call_soon_threadsafe(self._stopping.set)

    def nudge(self) -> None:
        """See `Runner.nudge`."""
        with contextlib.suppress(RuntimeError):  # the loop is closed: stopped already
            self._loop.call_soon_threadsafe(nothing)

    def serve(self) -> None:
        """See `Runner.serve`."""
        self._overdue.thread = threading.get_ident()
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_until_complete(self._until_stopped())
            if self._interrupt is not None:
                raise self._interrupt
        finally:
            self._loop.run_until_complete(self._loop.shutdown_asyncgens())
            asyncio.set_event_loop(None)
            self._loop.close()

    async def _until_stopped(self) -> None:
        await self._stopping.wait()
        while self._tasks and self._interrupt is None:
            await asyncio.wait(self._tasks, timeout=LONGEST_WAIT_S, return_when=asyncio.FIRST_COMPLETED)

    def _accept(self, requests: list[Request]) -> None:
        self._line += requests
        self._start_waiting()

    def _start_waiting(self) -> None:
        while self._line and len(self._tasks) < self._limit:
            request = self._line.popleft()
            done = self._take(request, None)
            if done is not None:
                task = self._loop.create_task(self._process(request, done))
                self._tasks.add(task)
                task.add_done_callback(self._finished)

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._start_waiting()

    async def _process(self, request: Request, done: Done) -> None:
        capture.enter_request(request.ids.request_id)
        if self.enter is not None:
            self.enter(request)
        if self.metrics is not None:
            request.taken = time.perf_counter()
        try:
            response = await self._score(request, done)
            self._overdue.end(request)
            self.completions.post(self._complete, request, response, done)
            if isinstance(response.stream, AsyncIterator):
                await self._pump_async(request, response.stream, done)
            else:
                self._cancellable.pop(request, None)
                if response.stream is not None:
                    call = watched_call(self._overdue, time.perf_counter, request, done)
                    await asyncio.to_thread(self._pump, request, response.stream, call)
        except StopServing as interrupt:
            self._interrupt = interrupt
            self._stopping.set()
            return
        finally:
            self._cancellable.pop(request, None)
        self._drain()

    def _begin(self, request: Request, done: Done, task: asyncio.Task[None] | None = None) -> None:
        self._overdue.begin(request, done, time.perf_counter(), task)

    async def _score(self, request: Request, done: Done) -> Response:
        """Return the answer; that of a call which was cancelled because its client has left is for the log."""
        task = asyncio.current_task()
        assert task is not None, "coroutines are run by tasks"  # noqa: S101
        self._cancellable[request] = task
        try:
            if not request.disconnected:  # else since it was taken
                begin = functools.partial(self._begin, request, done)
                return await self._scorer.score_async(request, self._timeout_ms, begin)
        except asyncio.CancelledError:
            if not request.disconnected:
                raise
        if self.metrics is not None:
            self.completions.post(self.metrics.abandoned, RUNNING)
        return error_response(ClientLeftError())

    async def _pump_async(self, request: Request, stream: AsyncIterator[bytes], done: Done) -> None:
        post, gate = self.completions.post, Gate(STREAM_LIMIT_BYTES, self._write_timeout_s)
        task = asyncio.current_task()
        try:
            self._begin(request, done, task)
            async for chunk in stream:
                self._overdue.end(request)
                await self._pass(gate, len(chunk))
                post(self._write, request, chunk, gate)
                self._begin(request, done, task)
            post(self._end, request)
        except ClientGoneError:
            post(self._abort, request)
        except StopServing:
            raise
        except BaseException as error:  # noqa: BLE001 - the border to user code, which may exit or be cancelled
            is_left = request.disconnected and isinstance(error, asyncio.CancelledError)
            if not (is_left or request.timed_out):
                self._scorer.log_error(error, request)
            post(self._abort, request)
        finally:
            self._overdue.end(request)
            self._cancellable.pop(request, None)
            await self._close_async(stream, request)

    async def _close_async(self, stream: Any, request: Request) -> None:
        """Close the user's generator, whose clean-up may raise."""
        try:
            await stream.aclose()
        except Exception as error:  # noqa: BLE001 - the border to user code
            self._scorer.log_error(error, request)

    async def _pass(self, gate: Gate, count: int) -> None:
        woken = asyncio.Event()
        while not gate.try_take(count, lambda: self._loop.call_soon_threadsafe(woken.set)):
            try:
                await asyncio.wait_for(woken.wait(), self._write_timeout_s)
            except asyncio.TimeoutError:
                raise ClientGoneError from None
            woken.clear()
