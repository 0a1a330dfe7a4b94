"""Batches of requests: how ``run()`` asks for them, and which requests make one, when.

Pure policy, without threads and clocks: `batch_runner` asks it, and executes what it says.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

from azmlinfsrv.decorated import functions_of

DEFAULT_SIZE, DEFAULT_WAIT_MS = 32, 5.0
_MARK = "__azmlinfsrv_batched__"

_Function = TypeVar("_Function", bound=Callable[..., Any])


class BatchLimits(NamedTuple):
    """What a batch may be.

    Attributes:
        max_batch_size: most rows of a batch; a request that has more runs alone.
        max_wait_ms: longest time that a batch that is not full waits for company.
    """

    max_batch_size: int = DEFAULT_SIZE
    max_wait_ms: float = DEFAULT_WAIT_MS


def batched(
    *, max_batch_size: int = DEFAULT_SIZE, max_wait_ms: float = DEFAULT_WAIT_MS
) -> Callable[[_Function], _Function]:
    """Have ``run()`` called with the inputs of several requests at a time.

    An undecorated ``run()`` gets a list of inputs and returns a list of results. One with ``@input_schema`` or a typed
    one gets its usual parameters with the rows of several requests, and returns a result for each row.

    Args:
        max_batch_size: most rows of a batch; an input of an undecorated ``run()`` is a row.
        max_wait_ms: longest time that a batch that is not full waits for company, in milliseconds.

    Returns:
        A decorator that returns the same function.

    Raises:
        ValueError: a limit is out of its range.
    """
    if max_batch_size < 1:
        raise ValueError(f"max_batch_size must be at least 1, not {max_batch_size}")
    if not 0 <= max_wait_ms < float("inf"):
        raise ValueError(f"max_wait_ms must be at least 0, not {max_wait_ms}")

    def mark(run: _Function) -> _Function:
        setattr(run, _MARK, BatchLimits(max_batch_size, max_wait_ms))
        return run

    return mark


def marked_limits(run: Callable[..., Any]) -> BatchLimits | None:
    """Return what `batched` said of ``run()``, or None where it is not decorated with it."""
    for function in functions_of(run):
        limits = getattr(function, _MARK, None)
        if isinstance(limits, BatchLimits):
            return limits
    return None


class Company:
    """Says for how long a batch that is not full waits for more requests.

    It waits only where requests are to be expected: as many as the batch before could have had, had it waited for the
    whole time. So a lone request never waits on an idle server; where many clients each wait for an answer before
    they ask again, a batch waits until they are back; and where nobody came, the next batch does not wait.
    Nor does it wait longer than the last call took: those who come later lose less by a call of their own.
    All times are those of `time.perf_counter`.

    Args:
        max_wait_s: longest wait, from when the requests before were answered.
    """

    def __init__(self, max_wait_s: float) -> None:
        self._max_wait_s = max_wait_s
        self._expected = 0
        self._until = float("-inf")

    def patience_s(self, now: float, waiting: int) -> float:
        """Return for how many seconds a batch should wait for more requests; 0 is not at all.

        Args:
            now: the time.
            waiting: number of requests that are there.
        """
        return max(0.0, self._until - now) if waiting < self._expected else 0.0

    def ended(self, now: float, run_ended: float, run_s: float, taken: int, received: Iterable[float]) -> None:
        """Learn from a batch whose requests have been answered.

        Args:
            now: the time.
            run_ended: when its results were there: who arrived later may be a client of it that is back already.
            run_s: how long its call took.
            taken: number of its requests.
            received: when those arrived that wait now.
        """
        in_time = min(self._until, run_ended)
        self._expected = taken + sum(at <= in_time for at in received)
        self._until = now + min(self._max_wait_s, run_s)


class Joinable(Protocol):
    """What can be part of a batch."""

    @property
    def key(self) -> object:
        """Equal for those that can be part of the same batch."""

    @property
    def rows(self) -> int:
        """Number of rows."""


_Member = TypeVar("_Member", bound=Joinable)


class Line(Generic[_Member]):
    """Those who wait for a batch, in the order of their arrival.

    The next batch begins with the first; of the others those join that fit, and nobody waits longer than that.

    Args:
        max_rows: most rows of a batch of more than one member.
    """

    def __init__(self, max_rows: int) -> None:
        self._max_rows = max_rows
        self._members: deque[_Member] = deque()
        self._rows = 0
        self._crowded = False

    def __len__(self) -> int:
        return len(self._members)

    def __iter__(self) -> Iterator[_Member]:
        return iter(self._members)

    @property
    def is_full(self) -> bool:
        """Whether waiting cannot make the next batch better: it has its rows, or one had to stay behind."""
        return self._crowded or self._rows >= self._max_rows

    def add(self, member: _Member) -> None:
        """Let somebody wait."""
        if not self._members:
            self._rows, self._crowded = member.rows, False
        elif _is_same(member.key, self._members[0].key):
            if self._rows + member.rows > self._max_rows:
                self._crowded = True
            else:
                self._rows += member.rows
        self._members.append(member)

    def keep(self, wanted: Callable[[_Member], bool]) -> None:
        """Let those go who are not wanted any more, so that their places are free."""
        if not all(map(wanted, self._members)):
            members, self._members = self._members, deque()
            self._rows, self._crowded = 0, False
            for member in filter(wanted, members):
                self.add(member)

    def take(self) -> list[_Member]:
        """Return the next batch, at least one member, whose places are free now."""
        members, self._members = self._members, deque()
        self._rows, self._crowded = 0, False
        first = members.popleft()
        batch, rows = [first], first.rows
        for member in members:
            if rows < self._max_rows and rows + member.rows <= self._max_rows and _is_same(member.key, first.key):
                batch.append(member)
                rows += member.rows
            else:
                self.add(member)
        return batch


def _is_same(key: object, other: object) -> bool:
    """Return whether keys are equal; values of the user's own types decide themselves, and may fail to."""
    if key is other:
        return True
    try:
        return bool(key == other)
    except Exception:  # noqa: BLE001 - the border to user code
        return False
