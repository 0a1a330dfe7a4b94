"""The cause of a failed start, and how long it can be asked for."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator

import pytest

from azmlinfsrv import failed_start
from azmlinfsrv.errors import ScriptError, ScriptFailedError
from azmlinfsrv.settings import Settings
from azmlinfsrv.telemetry.board import Board

NUMBERS = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)
HELD = Settings(separate_health_endpoint=True, failed_start_hold_ms=600_000)


@pytest.fixture
def failed() -> Board:
    """The board of a server whose script failed."""
    board = Board(1, 1)
    board.fail("KeyError: 'weights'")
    return board


@pytest.fixture
def _handlers() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in NUMBERS}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def test_the_cause_is_the_end_of_the_users_traceback() -> None:
    """It has the user's frames and the exception, and is cut at its beginning where it is long."""

    def init() -> None:
        raise KeyError("weights" + "x" * 5000)

    error = ScriptFailedError("the script raised")
    try:
        init()
    except KeyError as cause:
        error.__cause__ = cause
    text = failed_start.cause_of(error)
    assert len(text) == 4000
    assert text.endswith("xxx'")
    error.__cause__ = KeyError("short")
    assert failed_start.cause_of(error) == "KeyError: 'short'"


def test_the_cause_without_an_exception_of_the_users() -> None:
    """Where the script is missing or not one, the cause is what was logged."""
    assert failed_start.cause_of(ScriptError("No score script found.")) == "No score script found."


@pytest.mark.parametrize(
    ("settings", "is_failed"),
    [
        (Settings(), True),
        (Settings(separate_health_endpoint=True, failed_start_hold_ms=0), True),
        (HELD, False),
    ],
    ids=["no health port", "no time", "no failure"],
)
def test_no_hold(failed: Board, settings: Settings, is_failed: bool) -> None:
    """Without a health port, a time, or a failure the end is not held up, and no handler is replaced."""
    before = [signal.getsignal(number) for number in NUMBERS]
    failed_start.hold(settings, failed if is_failed else Board(1, 1))
    assert [signal.getsignal(number) for number in NUMBERS] == before


@pytest.mark.usefixtures("_handlers")
def test_a_hold_has_its_time(failed: Board) -> None:
    """It lasts as long as the setting says."""
    started = time.monotonic()
    failed_start.hold(Settings(separate_health_endpoint=True, failed_start_hold_ms=50), failed)
    assert time.monotonic() - started >= 0.05


@pytest.mark.usefixtures("_handlers")
@pytest.mark.parametrize("number", NUMBERS)
def test_a_stop_ends_a_hold(failed: Board, number: signal.Signals) -> None:
    """A signal that says to stop ends the hold at once."""
    before = signal.getsignal(number)
    done = threading.Event()

    def stop() -> None:
        while not done.wait(0.01):
            if signal.getsignal(number) != before:
                os.kill(os.getpid(), number)
                return

    thread = threading.Thread(target=stop)
    thread.start()
    failed_start.hold(HELD, failed)
    done.set()
    thread.join()
