"""The queue between the I/O thread and the user's code, and the three ways to call it.

Jobs go in on the I/O thread, are scored on a scoring thread, and their answers come back to the I/O loop. Waking a
thread costs more than scoring a small request, so both ways share wake-ups: the jobs that one turn of the I/O loop
brought go in together, and the answers that are ready come back together.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import queue
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from typing import Any

from azmlinfsrv import capture
from azmlinfsrv.completions import CallSoon, Completions
from azmlinfsrv.deadline import Deadline, Done, Job, LateCall
from azmlinfsrv.endings import Endings, next_chunk
from azmlinfsrv.errors import RunTimeoutError, StopServing
from azmlinfsrv.messages import ClientGoneError, Gate, Request, Response
from azmlinfsrv.overdue import Overdue, watched_call
from azmlinfsrv.scorer import Call, Scorer

logger = logging.getLogger("azmlinfsrv")

STREAM_LIMIT_BYTES = 256 * 1024
_LONGEST_WAIT_S = 3600.0

Drain = Callable[[], None]


def _nothing(*_: Any) -> None:
    pass


class Runner(Endings):
    """Scores requests, one call of ``run()`` at a time, in the thread that calls `serve`.

    Args:
        scorer: turns a request into a response.
        timeout_ms: SCORING_TIMEOUT_MS.
        write_timeout_ms: how long the client of a stream may take to read more.
        drain: lets unfinished printed lines go, after each request.

    Attributes:
        answered: number of requests that the script has answered; counted on the I/O thread.
        enough: at which number to call `on_enough`; 0 is never.
        on_enough: called on the I/O thread.
        completions: what the scoring thread hands to the I/O thread.
        enter: called in the thread or task that scores a request, before it does; or None.
        slots: number of calls at a time.
        max_batch_size: most rows of a batch; 0 where requests are scored one by one.
    """

    slots = 1
    max_batch_size = 0

    def __init__(self, scorer: Scorer, timeout_ms: int, write_timeout_ms: int, drain: Drain = _nothing) -> None:
        super().__init__(scorer)
        self._drain = drain
        self._timeout_ms = timeout_ms
        self._write_timeout_s = write_timeout_ms / 1000
        self._gathered: list[Job] = []
        self.answered = 0
        self.enough = 0
        self.on_enough: Callable[[], None] = _nothing
        self.completions = Completions()
        self.enter: Callable[[Request], Any] | None = None
        self._call_soon: CallSoon = _nothing

    def attach(self, call_soon: CallSoon, call_soon_threadsafe: CallSoon) -> None:
        """Say how the I/O loop calls functions; called before anything is submitted."""
        self._call_soon = call_soon
        self.completions.attach(call_soon_threadsafe)

    def on_change(self, changed: Callable[[], object]) -> None:
        """Have a function called on the I/O thread when `pending` has changed."""
        self._changed = changed

    def submit(self, request: Request, done: Done) -> None:
        """Queue a request; `done` gets its response on the I/O thread. Called on the I/O thread."""
        self._pending += 1
        self._gathered.append((request, done))
        if len(self._gathered) == 1:
            self._call_soon(self._hand_over)

    def _hand_over(self) -> None:
        """Queue the jobs that have gathered while the I/O loop looked at its connections."""
        jobs, self._gathered = self._gathered, []
        if self.refusal is not None:
            self.refuse_all(jobs)
            return
        self._changed()
        if self.metrics is not None:
            self.metrics.submitted(len(jobs))
        self._pass_on(jobs)

    def _pass_on(self, jobs: list[Job]) -> None:
        self._jobs.put(jobs)

    @property
    def pending(self) -> int:
        """Number of requests that were submitted and whose answers are not complete. Read on the I/O thread."""
        return self._pending

    def stop(self) -> None:
        """Make `serve` return once the jobs queued before are done; called on any thread or signal handler."""
        self._jobs.put(None)

    def nudge(self) -> None:
        """Have the thread in `serve` run the handlers of signals that arrived; called on the I/O thread.

        A signal that arrives while the main thread goes to sleep does not wake it.
        """
        self._jobs.put([])

    def serve(self) -> None:
        """Score until `stop`, on the calling thread: the main thread, where users' code expects to be."""
        self._serve_here()

    def check_deadlines(self, now: float) -> float:
        """Interrupt the calls that are too late; called on the I/O thread.

        Returns:
            After how many seconds to call it again.
        """
        return min(
            (deadline.check(now) for deadline in self._deadlines), default=self._timeout_ms / 1000 or _LONGEST_WAIT_S
        )

    def watch_deadlines(self, loop: asyncio.AbstractEventLoop) -> None:
        """Check the deadlines on the I/O loop from now on."""
        after_s = self.check_deadlines(time.perf_counter())
        loop.call_later(min(after_s, _LONGEST_WAIT_S), self.watch_deadlines, loop)

    def _serve_here(self) -> None:
        in_main_thread = threading.current_thread() is threading.main_thread()
        deadline = Deadline(self._timeout_ms, in_main_thread, self.give_up)
        undo = deadline.install()
        self._deadlines.append(deadline)
        try:
            self._work(deadline)
        finally:
            self._deadlines.remove(deadline)
            undo()

    def _work(self, deadline: Deadline) -> None:
        """Score on the calling thread until `stop`, each call within its deadline."""
        call = deadline.call
        get, post, drain, enter = self._jobs.get, self.completions.post, self._drain, self.enter
        score = self._scorer.score if self.metrics is None else self._measured
        while (jobs := get()) is not None:
            deadline.held = jobs
            for job in jobs:
                deadline.jobs = (job,)
                request, done = job
                capture.enter_request(request.ids.request_id)
                if enter is not None:
                    enter(request)
                response = score(request, call)
                post(self._complete, request, response, done)
                if response.stream is not None:
                    self._pump(request, response.stream, call)
                drain()
            deadline.held = deadline.jobs = ()
            jobs = job = request = done = response = None  # type: ignore[assignment]  # a large body must not live on

    def _measured(self, request: Request, call: Call) -> Response:
        request.taken = time.perf_counter()
        return self._scorer.score(request, call)

    def _complete(self, request: Request, response: Response, done: Done) -> None:
        if request.answered:
            return  # it was given up
        request.answered = True
        self.answered += 1
        if self.answered == self.enough:
            self.on_enough()
        if response.stream is None:
            self._pending -= 1
            self._changed()  # before the client has its answer, and may come with the next request
        else:
            self.streaming.add(request)
            if self.metrics is not None:
                self.metrics.stream_begun()
        done(request, response)

    def _pump(self, request: Request, stream: Any, call: Call) -> None:
        """Send the chunks of a stream as they are made; each has the time of a call."""
        post, gate = self.completions.post, Gate(STREAM_LIMIT_BYTES, self._write_timeout_s)
        try:
            while (chunk := call(next_chunk, {"stream": stream})) is not None:
                gate.take(len(chunk))
                post(self._write, request, chunk, gate)
            post(self._end, request)
        except ClientGoneError:
            post(self._abort, request)
        except RunTimeoutError as error:
            self._scorer.failure(request, error)
            post(self._abort, request)
        except StopServing:
            raise
        except BaseException as error:  # noqa: BLE001 - the border to user code
            self._scorer.log_error(error, request)
            post(self._abort, request)
        finally:
            self._close(stream, request)

    def _close(self, stream: Any, request: Request) -> None:
        """Close the user's generator, whose clean-up may raise."""
        try:
            stream.close()
        except Exception as error:  # noqa: BLE001 - the border to user code
            self._scorer.log_error(error, request)


class ThreadsRunner(Runner):
    """Scores several requests at a time, in threads; the main thread only waits for the stop."""

    def __init__(
        self, scorer: Scorer, timeout_ms: int, write_timeout_ms: int, drain: Drain = _nothing, *, threads: int
    ) -> None:
        super().__init__(scorer, timeout_ms, write_timeout_ms, drain)
        self._threads = self.slots = threads
        self._stopped: queue.SimpleQueue[bool] = queue.SimpleQueue()

    def _pass_on(self, jobs: list[Job]) -> None:
        """Queue each job for itself: the threads share them."""
        for job in jobs:
            self._jobs.put([job])

    def stop(self) -> None:
        """See `Runner.stop`."""
        self._stopped.put(True)

    def nudge(self) -> None:
        """See `Runner.nudge`."""
        self._stopped.put(False)

    def serve(self) -> None:
        """See `Runner.serve`."""
        threads = [
            threading.Thread(target=self._serve_here, name=f"scoring-{number}", daemon=True)
            for number in range(self._threads)
        ]
        for thread in threads:
            thread.start()
        while not self._stopped.get():
            pass
        for _ in threads:
            self._jobs.put(None)
        for thread in threads:
            thread.join()


class AsyncRunner(Runner):
    """Calls an ``async def run()``, up to a number of requests at a time, in an asyncio loop in the main thread."""

    def __init__(
        self, scorer: Scorer, timeout_ms: int, write_timeout_ms: int, drain: Drain = _nothing, *, limit: int
    ) -> None:
        super().__init__(scorer, timeout_ms, write_timeout_ms, drain)
        self._limit = self.slots = limit
        self._waiting: deque[Job] = deque()
        self._overdue = Overdue(timeout_ms, self.give_up)
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop = asyncio.new_event_loop()
        self._stopping = asyncio.Event()
        self._interrupt: StopServing | None = None

    def _pass_on(self, jobs: list[Job]) -> None:
        self._waiting += jobs
        with contextlib.suppress(RuntimeError):  # the loop is closed: stopped already
            self._loop.call_soon_threadsafe(self._start_waiting)

    def check_deadlines(self, now: float) -> float:
        """See `Runner.check_deadlines`."""
        return self._overdue.check(now, self._loop)

    def late_calls(self, now: float) -> list[LateCall]:
        """See `Endings.late_calls`."""
        return self._overdue.late_calls(now)

    def _unanswered(self) -> list[Job]:
        return [*self._overdue.jobs(), *self._waiting]

    def stop(self) -> None:
        """See `Runner.stop`."""
        with contextlib.suppress(RuntimeError):  # the loop is closed: stopped already
            self._loop.call_soon_threadsafe(self._stopping.set)

    def nudge(self) -> None:
        """See `Runner.nudge`."""
        with contextlib.suppress(RuntimeError):  # the loop is closed: stopped already
            self._loop.call_soon_threadsafe(_nothing)

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
            await asyncio.wait(self._tasks, timeout=_LONGEST_WAIT_S, return_when=asyncio.FIRST_COMPLETED)

    def _start_waiting(self) -> None:
        while self._waiting and len(self._tasks) < self._limit:
            task = self._loop.create_task(self._process(*self._waiting.popleft()))
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
            begin = functools.partial(self._begin, request, done)
            response = await self._scorer.score_async(request, self._timeout_ms, begin)
            self._overdue.end(request)
            self.completions.post(self._complete, request, response, done)
            if isinstance(response.stream, AsyncIterator):
                await self._pump_async(request, response.stream, done)
            elif response.stream is not None:
                call = watched_call(self._overdue, time.perf_counter, request, done)
                await asyncio.to_thread(self._pump, request, response.stream, call)
        except StopServing as interrupt:
            self._interrupt = interrupt
            self._stopping.set()
            return
        self._drain()

    def _begin(self, request: Request, done: Done, task: asyncio.Task[None] | None = None) -> None:
        self._overdue.begin(request, done, time.perf_counter(), task)

    async def _pump_async(self, request: Request, stream: AsyncIterator[bytes], done: Done) -> None:
        post, gate = self.completions.post, Gate(STREAM_LIMIT_BYTES, self._write_timeout_s)
        task = asyncio.current_task()
        try:
            self._begin(request, done, task)
            async for chunk in stream:
                self._overdue.end(request)
                await self._take(gate, len(chunk))
                post(self._write, request, chunk, gate)
                self._begin(request, done, task)
            post(self._end, request)
        except ClientGoneError:
            post(self._abort, request)
        except StopServing:
            raise
        except BaseException as error:  # noqa: BLE001 - the border to user code, which may exit or be cancelled
            if not request.timed_out:
                self._scorer.log_error(error, request)
            post(self._abort, request)
        finally:
            self._overdue.end(request)
            await self._close_async(stream, request)

    async def _close_async(self, stream: Any, request: Request) -> None:
        """Close the user's generator, whose clean-up may raise."""
        try:
            await stream.aclose()
        except Exception as error:  # noqa: BLE001 - the border to user code
            self._scorer.log_error(error, request)

    async def _take(self, gate: Gate, count: int) -> None:
        woken = asyncio.Event()
        while not gate.try_take(count, lambda: self._loop.call_soon_threadsafe(woken.set)):
            try:
                await asyncio.wait_for(woken.wait(), self._write_timeout_s)
            except asyncio.TimeoutError:
                raise ClientGoneError from None
            woken.clear()
