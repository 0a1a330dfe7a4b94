"""Calls of an ``async def run()``."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from typing import Any

from azmlinfsrv import outputs
from azmlinfsrv.errors import RunTimeoutError


class OddEndError(Exception):
    """The function ended by exiting, or by a cancellation of its own.

    Attributes:
        error: what it raised.
    """

    def __init__(self, error: BaseException) -> None:
        super().__init__(str(error))
        self.error = error


async def call_async(function: Callable[..., Any], arguments: dict[str, Any], timeout_ms: int) -> Any:
    """Return what the function returns; of an async generator, the first item and the rest.

    Raises:
        RunTimeoutError: it did not return in time, and was cancelled.
        OddEndError: it exited, or was cancelled by its own doing.
    """
    task = asyncio.ensure_future(_result(function, arguments))
    try:
        done, _ = await asyncio.wait({task}, timeout=timeout_ms / 1000 if timeout_ms else None)
    except asyncio.CancelledError:
        task.cancel()
        raise
    if done:
        try:
            return task.result()
        except asyncio.CancelledError as error:  # the script's own doing
            raise OddEndError(error) from error
    task.cancel()
    await asyncio.wait({task}, timeout=1)
    raise RunTimeoutError(timeout_ms)


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
