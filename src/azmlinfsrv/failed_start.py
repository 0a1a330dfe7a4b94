"""A script that cannot be loaded: its cause as text, and the time in which the health port tells it."""

from __future__ import annotations

import logging
import signal
import time
from typing import NoReturn

from azmlinfsrv.errors import ScriptError
from azmlinfsrv.script import user_traceback
from azmlinfsrv.settings import Settings
from azmlinfsrv.telemetry.board import Board

logger = logging.getLogger("azmlinfsrv")

_LONGEST_CAUSE = 4000


def cause_of(error: ScriptError) -> str:
    """Return the end of the user's traceback, or what else is wrong with the script."""
    text = user_traceback(error.__cause__) if error.__cause__ is not None else error.message
    return text[-_LONGEST_CAUSE:]


def hold(settings: Settings, board: Board) -> None:
    """Wait while the health port tells why the script could not be loaded, until a signal says to stop.

    Called in the main thread of a process that is about to end: its signal handlers are replaced.

    Args:
        settings: the settings.
        board: what the cause was written to.
    """
    if not (settings.separate_health_endpoint and settings.failed_start_hold_ms and board.failure):
        return
    seconds = settings.failed_start_hold_ms / 1000
    logger.info("GET :%d/ready tells the cause for %g s.", settings.health_port, seconds)
    try:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT):
            signal.signal(number, _end)
        time.sleep(seconds)
    except _HoldEnded:
        pass


class _HoldEnded(BaseException):
    """A signal says to stop."""


def _end(*_: object) -> NoReturn:
    raise _HoldEnded
