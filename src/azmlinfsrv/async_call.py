"""Calls of an ``async def run()``."""

from __future__ import annotations

import asyncio
import inspect
import math
import time
from collections.abc import Callable
from typing import Any

from azmlinfsrv import outputs
from azmlinfsrv.errors import CallerTimeoutError, RunTimeoutError


class OddEndError(Exception):
    """The function ended by exiting, or by a cancellation of its own.

    Attributes:
        error: what it raised.
    """

    def __init__(self, error: BaseException) -> None:
        super().__init__(str(error))
        self.error = error


async def call_async(
    function: Callable[..., Any], arguments: dict[str, Any], timeout_ms: int, until: float = 0.0
) -> Any:
    """Return what the function returns; of an async generator, the first item and the rest.

    Where the calling task is cancelled, so is the function, which may clean up and decide how it ends.

    Args:
        function: the function.
        arguments: its keyword arguments.
        timeout_ms: how long it may take; 0 is any time.
        until: `time.perf_counter` until which its caller waits; 0 where that is not known.

    Raises:
        RunTimeoutError: it did not return in time, and was cancelled; a `CallerTimeoutError` at the caller's deadline.
        OddEndError: it exited, or was cancelled by its own doing.
        asyncio.CancelledError: the calling task was cancelled, and so it was.
    """
    own_end = time.perf_counter() + timeout_ms / 1000 if timeout_ms else math.inf
    end = min(own_end, until or math.inf)
    task = asyncio.ensure_future(_result(function, arguments))
    try:
        done, _ = await asyncio.wait({task}, timeout=_left_s(end))
    except asyncio.CancelledError:
        task.cancel()
        done, _ = await asyncio.wait({task}, timeout=_left_s(own_end))
        if not done or task.cancelled():
            raise
    if done:
        try:
            return task.result()
        except asyncio.CancelledError as error:  # the script's own doing
            raise OddEndError(error) from error
    task.cancel()
    await asyncio.wait({task}, timeout=1)
    raise (RunTimeoutError if end == own_end else CallerTimeoutError)(timeout_ms)


def _left_s(end: float) -> float | None:
    """Return how long to wait, as asyncio wants it: None is for ever."""
    return None if end == math.inf else max(0.0, end - time.perf_counter())


async def _result(function: Callable[..., Any], arguments: dict[str, Any]) -> Any:
    try:
        return await _first(function, arguments)
    except (SystemExit, KeyboardInterrupt, GeneratorExit) as error:  # asyncio would end the loop
        raise OddEndError(error) from error


async def _first(function: Callable[..., Any], arguments: dict[str, Any]) -> Any:
    result = function(**arguments)
    if inspect.isawaitable(result):
        result = await result
    if not outputs.is_stream(result):
        return result
    if inspect.isasyncgen(result):
        return outputs.Started(await anext(result, outputs.NO_ITEM), result)
    return outputs.Started(next(result, outputs.NO_ITEM), result)
