"""The queue between the I/O thread and the user's code, which is called in the main thread or in several.

Jobs go in on the I/O thread, are scored on a scoring thread, and their answers come back to the I/O loop. Waking a
thread costs more than scoring a small request, so both ways share wake-ups: the jobs that one turn of the I/O loop
brought go in together, and the answers that are ready come back together.

A request waits for as long as it is a key of one dictionary. Whoever removes it has it, the scoring thread or the I/O
thread that answers it before its turn: removing is one step of the interpreter.
"""

from __future__ import annotations

import asyncio
import logging
import math
import queue
import threading
import time
from collections.abc import Callable
from typing import Any

from azmlinfsrv import capture
from azmlinfsrv.admission import COUNTED_BYTES, DEADLINE, Admission, Bounds, CallLater
from azmlinfsrv.completions import CallSoon, Completions
from azmlinfsrv.deadline import Deadline, Done
from azmlinfsrv.endings import Drain, Endings, next_chunk, nothing
from azmlinfsrv.errors import ClientLeftError, LateError, OverloadError, RequestError, RunTimeoutError, StopServing
from azmlinfsrv.expiry import Expiry
from azmlinfsrv.messages import ClientGoneError, Gate, Request, Response
from azmlinfsrv.outputs import error_response
from azmlinfsrv.scorer import Call, Scorer
from azmlinfsrv.telemetry.metrics import WAITING

logger = logging.getLogger("azmlinfsrv")

STREAM_LIMIT_BYTES = 256 * 1024
LONGEST_WAIT_S = 3600.0
# How often the scoring thread looks for the next request before it sleeps, where one comes at a time: about 30 µs.
LOOKS = 20
# After a call of this length the I/O thread may have its turn: for a twenty-fifth of it, or a fifth of a millisecond.
LONG_CALL_S, TURN, LONGEST_TURN_S = 0.002, 1 / 25, 0.0002


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
        before_run: called on the I/O thread before it hands requests over and no others are being scored.
        enter: called in the thread or task that scores a request, before it does; or None.
        slots: number of calls at a time.
        max_batch_size: most rows of a batch; 0 where requests are scored one by one.
        looks: how often a scoring thread looks for the next request before it sleeps.
        gives_turns: whether a scoring thread sleeps for a moment after a long call; see `contention`.
    """

    slots = 1
    max_batch_size = 0
    looks = LOOKS

    def __init__(self, scorer: Scorer, timeout_ms: int, write_timeout_ms: int, drain: Drain = nothing) -> None:
        super().__init__(scorer)
        self._drain = drain
        self._timeout_ms = timeout_ms
        self._write_timeout_s = write_timeout_ms / 1000
        self._gathered: list[Request] = []
        self._jobs: queue.SimpleQueue[list[Request] | None] = queue.SimpleQueue()
        self._expiry = Expiry(self._waiting)
        self._expires, self._deadline_header = False, b""
        self.answered = 0
        self.enough = 0
        self.on_enough: Callable[[], None] = nothing
        self.completions = Completions()
        self.enter: Callable[[Request], Any] | None = None
        self.before_run: Callable[[], object] = nothing
        self._call_soon: CallSoon = nothing
        self.gives_turns = False

    def limit(self, bounds: Bounds, max_wait_ms: float, deadline_header: str) -> None:
        """Say how many requests are taken, how long they wait at the most, and which header has a caller's deadline."""
        self.admission = Admission(bounds, self.slots, self.max_batch_size or 1)
        self.admission.answered = lambda: self.answered
        self.admission.waited_s = self._longest_wait_s
        self._expiry = Expiry(self._waiting, max_wait_ms, deadline_header)
        self._expires, self._deadline_header = bool(max_wait_ms), self._expiry.header
        self._expiry.refused = self.admission.refused
        self._expiry.expired = self._drop
        self._expiry.check_running = self._check_callers

    def attach(self, call_soon: CallSoon, call_soon_threadsafe: CallSoon, call_later: CallLater | None = None) -> None:
        """Say how the I/O loop calls functions; called before anything is submitted."""
        self._call_soon = call_soon
        self.completions.attach(call_soon_threadsafe)
        if call_later is not None:
            self.admission.attach(call_later)
            self._expiry.attach(call_later)

    def on_change(self, changed: Callable[[], object]) -> None:
        """Have a function called on the I/O thread when `pending` has changed."""
        self._changed = changed

    def submit(self, request: Request, done: Done) -> None:
        """Queue a request; `done` gets its response on the I/O thread. Called on the I/O thread.

        Raises:
            OverloadError: it is one too many.
            BadInputError: its caller's deadline is no number.
        """
        if self._expires or self._deadline_header in request.headers:
            self._expiry.expect(request)
        admission = self.admission
        if admission.pending >= admission.watched or request.body_bytes > COUNTED_BYTES:
            admission.check(request)
        admission.pending += 1
        self._waiting[request] = done
        self._gathered.append(request)
        if len(self._gathered) == 1:
            self._call_soon(self._hand_over)

    def _hand_over(self) -> None:
        """Queue the requests that have gathered while the I/O loop looked at its connections."""
        requests, self._gathered = self._gathered, []
        self._changed()
        if self.admission.pending == len(requests):
            self.before_run()
        if self.metrics is not None:
            self.metrics.submitted(len(requests))
        if self.refusal is not None:
            self.refuse_waiting()
        else:
            self._pass_on(requests)

    def _pass_on(self, requests: list[Request]) -> None:
        self._jobs.put(requests)

    def abandon(self, request: Request) -> None:
        """Drop a request whose client has left, unless ``run()`` has it already; called on the I/O thread."""
        if self._drop(request, ClientLeftError()) and self.metrics is not None:
            self.metrics.abandoned(WAITING)

    def _longest_wait_s(self) -> float:
        """Return how long the request whose turn is next has waited."""
        try:
            first = next(iter(self._waiting), None)
        except RuntimeError:  # a scoring thread took one just now
            return 0.0
        return time.perf_counter() - first.received if first is not None else 0.0

    def _drop(self, request: Request, error: RequestError) -> bool:
        """Answer a request that still waits, whose turn will never come; returns whether it did."""
        done = self._waiting.pop(request, None)
        if done is None:
            return False
        self._dropped(request)
        if isinstance(error, OverloadError):
            self.admission.refused(error)
        elif isinstance(error, LateError):
            self.admission.count(DEADLINE)
        done(request, error_response(error))
        return True

    @property
    def pending(self) -> int:
        """Number of requests that were submitted and whose answers are not complete. Read on the I/O thread."""
        return self.admission.pending

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
            (deadline.check(now) for deadline in self._deadlines), default=self._timeout_ms / 1000 or LONGEST_WAIT_S
        )

    def _check_callers(self, now: float) -> float:
        """See `check_deadlines`, for those of callers; infinite where none of the calls has one."""
        if all(deadline.until == math.inf for deadline in self._deadlines):
            return math.inf
        return self.check_deadlines(now)

    def watch_deadlines(self, loop: asyncio.AbstractEventLoop) -> None:
        """Check the deadlines on the I/O loop from now on."""
        after_s = self.check_deadlines(time.perf_counter())
        loop.call_later(min(after_s, LONGEST_WAIT_S), self.watch_deadlines, loop)

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
        get, take, post = self._jobs.get, self._waiting.pop, self.completions.post
        drain, enter = self._drain, self.enter
        score, call = self._scorer.score if self.metrics is None else self._measured, deadline.call
        alone = False
        while (requests := self._look() if alone else get()) is not None:
            alone = len(requests) == 1 == self.admission.pending
            for request in requests:
                done = take(request, None) if not request.deadline else self._take(request, deadline)
                if done is None:
                    continue
                deadline.jobs = ((request, done),)
                capture.enter_request(request.ids.request_id)
                if enter is not None:
                    enter(request)
                response = score(request, call)
                if request.deadline:
                    deadline.until = math.inf
                post(self._complete, request, response, done)
                if response.stream is not None:
                    self._pump(request, response.stream, call)
                drain()
                if self.gives_turns and request.run_s > LONG_CALL_S and self._waiting:
                    time.sleep(min(request.run_s * TURN, LONGEST_TURN_S))
            deadline.jobs = ()
            requests = request = done = response = None  # type: ignore[assignment]  # a large body must not live on

    def _look(self) -> list[Request] | None:
        """Wait for requests after one that came alone: its client often asks again before this thread were asleep.

        Being woken takes longer, and more of the processors, than looking for a moment; others have their turns.
        """
        for _ in range(self.looks):
            if not self._jobs.empty():
                break
            time.sleep(0)
        return self._jobs.get()

    def _take(self, request: Request, deadline: Deadline | None) -> Done | None:
        """Take a request, whose caller's deadline its call has then; None where it waits no longer, or is too late."""
        if not request.deadline:
            return self._waiting.pop(request, None)
        if request.deadline <= time.perf_counter():
            self.completions.post(self._drop, request, LateError())
            return None
        if deadline is not None:
            deadline.until = request.deadline  # first: the I/O thread watches one or the other
        done = self._waiting.pop(request, None)
        if done is None and deadline is not None:
            deadline.until = math.inf
        return done

    def _measured(self, request: Request, call: Call) -> Response:
        request.taken = time.perf_counter()
        return self._scorer.score(request, call)

    def _complete(self, request: Request, response: Response, done: Done) -> None:
        if request.answered:
            return  # it was given up
        request.answered = True
        self.answered += 1
        if self._expires:
            self._expiry.pace.answered(bool(self._waiting))
        if self.answered == self.enough:
            self.on_enough()
        if response.stream is None:
            admission = self.admission
            admission.pending -= 1
            if request.body_bytes > COUNTED_BYTES:
                admission.held_bytes -= request.body_bytes
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
        self, scorer: Scorer, timeout_ms: int, write_timeout_ms: int, drain: Drain = nothing, *, threads: int
    ) -> None:
        super().__init__(scorer, timeout_ms, write_timeout_ms, drain)
        self._threads = self.slots = threads
        self._stopped: queue.SimpleQueue[bool] = queue.SimpleQueue()

    def _pass_on(self, requests: list[Request]) -> None:
        """Queue each request for itself: the threads share them."""
        for request in requests:
            self._jobs.put([request])

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
