"""One thread that calls functions in turn, for servers whose main thread is not ours."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

T = TypeVar("T")


class ScoringThread:
    """The thread in which a script is loaded and called: what ``init()`` makes may be tied to its thread."""

    def __init__(self) -> None:
        self._calls: queue.SimpleQueue[tuple[Callable[[], Any], Future[Any]] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="scoring", daemon=True)
        self._thread.start()

    def call(self, function: Callable[[], T]) -> Future[T]:
        """Have a function called once those before have returned; called on any thread.

        Returns:
            What it returns or raises.
        """
        future: Future[T] = Future()
        self._calls.put((function, future))
        return future

    def end(self, within_s: float | None = None) -> None:
        """End the thread once it has called everything, and wait for it.

        Args:
            within_s: how long to wait at the most; None is until it has ended.
        """
        self._calls.put(None)
        self._thread.join(within_s)

    def _work(self) -> None:
        while (call := self._calls.get()) is not None:
            function, future = call
            try:
                future.set_result(function())
            except BaseException as error:  # noqa: BLE001 - whoever waits for the future gets it
                future.set_exception(error)
