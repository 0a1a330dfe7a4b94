"""A bounded queue of records, and the thread that brings them to a back end.

What takes part in serving only appends to the queue, or counts a drop where it is full. The thread works in small
pieces with rests between them, because it shares the interpreter with the requests; while the back end cannot be
reached it takes nothing more from the queue.
"""

from __future__ import annotations

import logging
import signal
import threading
import time
from collections import deque
from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

from azmlinfsrv.telemetry.records import Record

logger = logging.getLogger("azmlinfsrv.telemetry")

QUEUE_LIMIT = 2048
BATCH_LIMIT = 512
MAX_TRIES = 8
_SLICE = 32
_IDLE_S = 0.5
_LONGEST_REST_S = 0.1
_LONGEST_WAIT_S = 60.0
_HURRIED_WAIT_S = 0.2
# Out of each second, the thread computes for a fifth at most.
_REST_RATIO = 4


class Delivery(NamedTuple):
    """What became of a batch.

    Attributes:
        retry: what is to be sent again.
        dropped: how many the other side has refused for good.
        wait_s: how long to wait at least; below 0: the other side is well.
        problem: what is wrong with the other side, for the log; "" if nothing is.
    """

    retry: Sequence[Any] = ()
    dropped: int = 0
    wait_s: float = -1.0
    problem: str = ""


class Backend(Protocol):
    """Where records go. Every method is called on the pipeline's thread, after a fork if there is one.

    Attributes:
        name: for log lines.
        sink: for metrics, the name of its extra.
        batch_limit: how many records it takes at a time.
    """

    name: str
    sink: str
    batch_limit: int

    def open(self) -> None:
        """Make what sends."""

    def encode(self, record: Record) -> Any:
        """Return a record as `send` takes it; None leaves it out."""

    def send(self, batch: Sequence[Any]) -> Delivery:
        """Send what `encode` has returned, in bounded time."""

    def tick(self, now: float) -> None:
        """Do what is due, at least twice a second while there is little to send."""

    def close(self) -> None:
        """Give up what `open` made."""


class Pipeline:
    """Brings records to one back end.

    Args:
        backend: where they go.
        limit: how many may wait.

    Attributes:
        backend: where they go.
        sent: how many the back end has taken.
        dropped: how many were lost: the queue was full, or the back end refused them.
    """

    def __init__(self, backend: Backend, limit: int = QUEUE_LIMIT) -> None:
        self.backend = backend
        self.sent = 0
        self.dropped = 0
        self._limit = limit
        self._wake_at = max(limit // 4, 1)
        self._queue: deque[Any] = deque()
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._thread: threading.Thread | None = None
        self._hurry = 0
        self._closing = False
        self._failed_tries = 0
        self._in_hand = self._counted = 0
        self._troubled = False

    # -- any thread ----------------------------------------------------------------------------------------------

    def has_room(self) -> bool:
        """Return whether a record can be put; counts a drop where not. Costs no more than a comparison."""
        if len(self._queue) < self._limit:
            return True
        self.drop(1)
        return False

    def put(self, record: Record) -> None:
        """Have a record sent; ask `has_room` first."""
        self._queue.append(record)
        if len(self._queue) == self._wake_at:
            self._wake.set()

    def drop(self, count: int) -> None:
        """Count records that are lost."""
        with self._lock:
            self.dropped += count

    def new_drops(self) -> int:
        """Return how many records were lost since this was last asked; called on one thread."""
        counted, self._counted = self._counted, self.dropped
        return self._counted - counted

    def start(self) -> None:
        """Start the thread, unless it runs; called in the process that serves."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name=f"telemetry {self.backend.name}", daemon=True)
            self._thread.start()

    def forget(self) -> None:
        """Leave out what waits: another process sends it."""
        self._queue.clear()

    def flush(self, timeout_s: float) -> bool:
        """Return whether all that was put before has been sent or given up within the time."""
        if self._thread is None:
            return not self._queue
        reached = threading.Event()
        self._hurry += 1
        self._queue.append(_Mark(reached))
        self._wake.set()
        try:
            return reached.wait(timeout_s)
        finally:
            self._hurry -= 1

    def close(self, timeout_s: float) -> None:
        """Send what waits, for so long at the most, and end the thread; what is left counts as dropped."""
        thread = self._thread
        if thread is not None:
            self._closing = True
            self._wake.set()
            thread.join(timeout_s)
        left = [record for record in self._queue if not isinstance(record, _Mark)]
        self._queue.clear()
        still_sending = thread is not None and thread.is_alive()
        self.drop(len(left) + (self._in_hand if still_sending else 0))
        if self.dropped:
            logger.warning("%s: %d records of telemetry were dropped", self.backend.name, self.dropped)

    # -- the thread ----------------------------------------------------------------------------------------------

    def is_own_thread(self) -> bool:
        """Return whether the calling thread is the pipeline's."""
        return threading.current_thread() is self._thread

    def _run(self) -> None:
        backend = self.backend
        if hasattr(signal, "pthread_sigmask"):
            signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        try:
            backend.open()
            batch: Sequence[Any] = ()
            while batch or self._queue or not self._closing:
                batch = self._step(batch)
            backend.tick(time.monotonic())
            backend.close()
        except Exception as error:  # noqa: BLE001 - the border of telemetry
            logger.warning("%s: telemetry has ended: %s", backend.name, type(error).__name__)
            self._limit = 0

    def _step(self, batch: Sequence[Any]) -> Sequence[Any]:
        """Send one batch; returns what is to be sent again."""
        batch = batch or self._take()
        if not batch:
            self.backend.tick(time.monotonic())
            if not self._queue and not self._closing:
                self._wake.wait(_IDLE_S)
                self._wake.clear()
            return ()
        started = time.thread_time()
        self._in_hand = len(batch)
        try:
            delivery = self.backend.send(batch)
        except Exception as error:  # noqa: BLE001 - the border of telemetry
            delivery = Delivery((), len(batch), 1.0, type(error).__name__)
        retry = delivery.retry
        self._report(delivery)
        self._failed_tries = self._failed_tries + 1 if delivery.problem else 0
        self._in_hand = len(retry)
        given_up = bool(retry) and (self._failed_tries >= MAX_TRIES or self._closing)
        self.sent += len(batch) - delivery.dropped - len(retry)
        if delivery.dropped or given_up:
            self.drop(delivery.dropped + (len(retry) if given_up else 0))
        if given_up:
            self._in_hand = 0
        if delivery.problem and self._closing:
            self._give_up()
        if delivery.wait_s >= 0:
            self._wait(delivery.wait_s)
        else:
            self._rest(time.thread_time() - started)
        return () if given_up else retry

    def _take(self) -> Sequence[Any]:
        """Return the next records, encoded."""
        queue, backend = self._queue, self.backend
        batch: list[Any] = []
        taken = 0
        started = time.thread_time()
        while queue and len(batch) < backend.batch_limit:
            record = queue[0]
            if isinstance(record, _Mark):
                if batch:
                    break
                record.reached.set()
                queue.popleft()
                continue
            queue.popleft()
            encoded = self._encode(record)
            if encoded is not None:
                batch.append(encoded)
            taken += 1
            if taken % _SLICE == 0:
                self._rest(time.thread_time() - started)
                started = time.thread_time()
        self._rest(time.thread_time() - started)
        return batch

    def _encode(self, record: Record) -> Any:
        try:
            return self.backend.encode(record)
        except Exception as error:  # noqa: BLE001 - the border of telemetry
            self.drop(1)
            logger.debug("%s: a record could not be encoded: %s", self.backend.name, type(error).__name__)
            return None

    def _rest(self, worked_s: float) -> None:
        """Let the requests have the interpreter."""
        if not self._closing and not self._hurry and worked_s > 0:
            time.sleep(min(worked_s * _REST_RATIO, _LONGEST_REST_S))

    def _wait(self, at_least_s: float) -> None:
        """Wait after a failure, longer after each; a stop ends it."""
        begun = time.monotonic()
        wait_s = min(max(at_least_s, 2.0 ** (self._failed_tries - 1)), _LONGEST_WAIT_S)
        while not self._closing:
            left = begun + (min(wait_s, _HURRIED_WAIT_S) if self._hurry else wait_s) - time.monotonic()
            if left <= 0:
                return
            self._wake.wait(left)
            self._wake.clear()

    def _give_up(self) -> None:
        """Drop what waits: the process ends, and nobody takes it."""
        while self._queue:
            record = self._queue.popleft()
            if isinstance(record, _Mark):
                record.reached.set()
            else:
                self.drop(1)

    def _report(self, delivery: Delivery) -> None:
        """Log once that the back end is in trouble, and once that it is well again."""
        if delivery.problem and not self._troubled:
            logger.warning("%s: telemetry is not accepted: %s", self.backend.name, delivery.problem)
        elif self._troubled and not delivery.problem:
            logger.info("%s: telemetry is accepted again; dropped so far: %d", self.backend.name, self.dropped)
        self._troubled = bool(delivery.problem)


class _Mark(NamedTuple):
    """Stands in the queue behind what a flush waits for."""

    reached: threading.Event
