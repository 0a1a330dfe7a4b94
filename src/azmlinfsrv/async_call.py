"""Calls of an ``async def run()``."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from typing import Any

from azmlinfsrv import outputs
from azmlinfsrv.errors import RunTimeoutError


async def call_async(function: Callable[..., Any], arguments: dict[str, Any], timeout_ms: int) -> Any:
    """Return what the function returns; of an async generator, the first item and the rest.

    Raises:
        RunTimeoutError: it did not return in time, and was cancelled.
    """
    task = asyncio.ensure_future(_result(function, arguments))
    try:
        done, _ = await asyncio.wait({task}, timeout=timeout_ms / 1000)
    except asyncio.CancelledError:
        task.cancel()
        raise
    if done:
        return task.result()
    task.cancel()
    await asyncio.wait({task}, timeout=1)
    raise RunTimeoutError(timeout_ms)


async def _result(function: Callable[..., Any], arguments: dict[str, Any]) -> Any:
    result = function(**arguments)
    if inspect.isawaitable(result):
        result = await result
    if not outputs.is_stream(result):
        return result
    if inspect.isasyncgen(result):
        return outputs.Started(await anext(result, None), result)
    return outputs.Started(next(result, None), result)
