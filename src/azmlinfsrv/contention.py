"""Whether the I/O thread and ``run()`` are in each other's way.

Code that gives the interpreter up for microseconds, again and again (each tree of a forest, each operator of a
network), wakes the thread that waits for it each time, mostly in vain: it has taken the interpreter again before the
other is awake. So a request that arrives costs both threads more than the model does, and shows as sleeps of the I/O
thread: about 2 a request where nobody is in the way, about 100 beside a random forest.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

# More sleeps of the I/O thread for each request than this are in vain.
MOST_SLEEPS = 12
# So many requests tell.
LEAST_REQUESTS = 8


def thread_sleeps() -> int:
    """Return how often the calling thread has gone to sleep; 0 where the system does not say (other than Linux)."""
    if sys.platform != "linux":
        return 0
    import resource

    return resource.getrusage(resource.RUSAGE_THREAD).ru_nvcsw


class Contention:
    """Watches the thread that calls `check`: the I/O thread.

    Args:
        sleeps: says how often the thread has gone to sleep so far.

    Attributes:
        is_high: whether it sleeps in vain.
    """

    def __init__(self, sleeps: Callable[[], int] = thread_sleeps) -> None:
        self.is_high = False
        self._sleeps = sleeps
        self._slept = self._answered = 0

    def check(self, answered: int) -> bool:
        """Return `is_high`, as it is now.

        Args:
            answered: how many requests have been answered so far.
        """
        requests = answered - self._answered
        if requests >= LEAST_REQUESTS:
            slept = self._sleeps()
            self.is_high = slept - self._slept > requests * MOST_SLEEPS
            self._slept, self._answered = slept, answered
        return self.is_high
