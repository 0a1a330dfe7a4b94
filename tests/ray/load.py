"""Clients that post all the time, and what they saw."""

from __future__ import annotations

import contextlib
import threading
import time
from collections import Counter
from collections.abc import Iterator

import httpx

PATIENCE_S = 90.0
TIMEOUT_S = 60.0


class Clients:
    """Clients that each send one request after the other, over a connection that they keep.

    Args:
        url: what to post to.
        body: what to post.
        number: how many clients there are.

    Attributes:
        seen: how often each status, and each kind of broken connection, was seen.
        bodies: how often each body of a 200 was seen.
        away_s: the longest time without any answer of 200.
        slowest_s: the longest time that a request took.
    """

    def __init__(self, url: str, body: str, number: int = 4) -> None:
        self.seen: Counter[str] = Counter()
        self.bodies: Counter[str] = Counter()
        self.away_s = self.slowest_s = 0.0
        self._url, self._body, self._number = url, body, number
        self._last = time.perf_counter()
        self._lock = threading.Lock()
        self._done = threading.Event()

    @contextlib.contextmanager
    def busy(self) -> Iterator[None]:
        """Have them post, from the first answer on."""
        threads = [threading.Thread(target=self._post) for _ in range(self._number)]
        self._last = time.perf_counter()
        for thread in threads:
            thread.start()
        try:
            self.wait_for(1)
            yield
        finally:
            self._done.set()
            for thread in threads:
                thread.join()

    def wait_for(self, more: int) -> None:
        """Wait for so many more answers of 200.

        Raises:
            TimeoutError: they do not come.
        """
        wanted, end = self.seen["200"] + more, time.monotonic() + PATIENCE_S
        while self.seen["200"] < wanted:
            if time.monotonic() > end:
                raise TimeoutError(f"no answers of 200: {self.seen}")
            time.sleep(0.02)

    @property
    def others(self) -> dict[str, int]:
        """What was seen besides answers of 200."""
        return {what: number for what, number in self.seen.items() if what != "200"}

    def _post(self) -> None:
        with httpx.Client(timeout=TIMEOUT_S, trust_env=False) as client:
            while not self._done.is_set():
                began = time.perf_counter()
                try:
                    answer = client.post(self._url, content=self._body)
                    what, body = str(answer.status_code), answer.text
                except httpx.HTTPError as error:
                    what, body = type(error).__name__, ""
                self._note(what, body, began)

    def _note(self, what: str, body: str, began: float) -> None:
        now = time.perf_counter()
        with self._lock:
            self.seen[what] += 1
            self.slowest_s = max(self.slowest_s, now - began)
            if what == "200":
                self.bodies[body] += 1
                self.away_s = max(self.away_s, now - self._last)
                self._last = now
