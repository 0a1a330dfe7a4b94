"""The way back from the scoring threads to the I/O loop."""

from __future__ import annotations

import contextlib
import logging
from collections import deque
from collections.abc import Callable
from typing import Any

logger = logging.getLogger("azmlinfsrv")

CallSoon = Callable[..., Any]


class Completions:
    """Calls that the scoring threads hand to the I/O loop; all that wait are made at one wake-up.

    Nothing is delivered before `attach`.
    """

    def __init__(self) -> None:
        self._calls: deque[tuple[Callable[..., object], tuple[Any, ...]]] = deque()
        self._call_soon: CallSoon | None = None
        self._awake = False

    def attach(self, call_soon_threadsafe: CallSoon | None) -> None:
        """Say how the I/O loop is woken, or None when it is gone."""
        self._call_soon = call_soon_threadsafe

    def post(self, function: Callable[..., object], *arguments: Any) -> None:
        """Have a function called on the I/O thread; called on any thread."""
        self._calls.append((function, arguments))
        call_soon = self._call_soon
        if not self._awake and call_soon is not None:
            self._awake = True
            with contextlib.suppress(RuntimeError):  # the loop has just been closed: stopped already
                call_soon(self._deliver)

    def _deliver(self) -> None:
        self._awake = False
        calls = self._calls
        while calls:
            function, arguments = calls.popleft()
            try:
                function(*arguments)
            except Exception:
                logger.exception("An answer could not be handed over")
