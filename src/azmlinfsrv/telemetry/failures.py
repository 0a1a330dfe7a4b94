"""Exceptions as text: type, message, and the frames of the user's code."""

from __future__ import annotations

import os
import traceback

from azmlinfsrv.errors import RunTimeoutError
from azmlinfsrv.script import user_stack, user_traceback
from azmlinfsrv.telemetry.records import TEXT_LIMIT, Failure

_PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep
_MOST_FRAMES = 100


def describe(error: BaseException) -> Failure:
    """Return what is told of an exception; of a deadline that passed, where the user's code was then."""
    if isinstance(error, RunTimeoutError):
        message = f"Script failed to finish execution within the allocated time: {error.timeout_ms}ms"
        cause = error.__cause__
        stack = user_stack(cause) if cause is not None else ""
        return Failure(type(error).__name__, message, f"{stack}{message}"[-TEXT_LIMIT:], _frames(cause))
    kind = type(error)
    name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    try:
        message = str(error)
    except Exception as odd:  # noqa: BLE001 - the border to user code
        message = f"<no text: {type(odd).__name__}>"
    return Failure(name, message[:TEXT_LIMIT], user_traceback(error)[-TEXT_LIMIT:], _frames(error))


def _frames(error: BaseException | None) -> tuple[tuple[str, int, str], ...]:
    """Return file, line and function of the user's frames, the innermost last."""
    found = traceback.extract_tb(error.__traceback__) if error is not None else []
    frames = [(each.filename, each.lineno or 0, each.name) for each in found if not each.filename.startswith(_PACKAGE)]
    return tuple(frames[-_MOST_FRAMES:])
