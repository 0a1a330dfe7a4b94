"""One process without gunicorn, on the standard asyncio loop: for systems that lack either, and for trying things."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NoReturn

from azmlinfsrv import boot, failed_start
from azmlinfsrv.access_settings import hide_keys
from azmlinfsrv.berth import Berth
from azmlinfsrv.configuration import Configuration
from azmlinfsrv.errors import StopServing
from azmlinfsrv.service import Service
from azmlinfsrv.settings import Settings
from azmlinfsrv.sockets import BACKLOG, bind, ports
from azmlinfsrv.telemetry.board import Board
from azmlinfsrv.telemetry.metrics import WorkerMetrics
from azmlinfsrv.worker_state import WorkerState

if TYPE_CHECKING:
    from azmlinfsrv.health_process import HealthProcess

logger = logging.getLogger("azmlinfsrv")


def run(configuration: Configuration, sockets: Sequence[socket.socket] = (), berth: Berth | None = None) -> None:
    """Serve until a signal says to stop; called in the main thread.

    Args:
        configuration: the settings.
        sockets: sockets that are bound, instead of those of the settings.
        berth: its place, where a process above it may let another take it; that process serves the health port.

    Raises:
        OSError: an address cannot be listened on.
        SystemExit: with 3, the script cannot be used.
    """
    settings = configuration.settings
    sockets = [*sockets] or [bind(settings.host, port) for port in ports(settings)]
    for sock in sockets:
        sock.listen(BACKLOG)
        sock.setblocking(False)
    if settings.worker_count > 1:
        logger.warning("WORKER_COUNT is %d, but a single process serves.", settings.worker_count)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _stop_now)
    board = berth.board if berth else Board(1, 1)
    slot = board.take()
    state = WorkerState(board, slot)
    state.begin(os.getpid(), time.monotonic())
    health = _start_health_process(settings, board, sockets)
    try:
        hide_keys(os.environ)
        loaded = boot.load_or_exit(configuration, board.fail)
        metrics = WorkerMetrics(board, slot) if settings.metrics_enabled else None
        _serve(loaded, settings, sockets, metrics, state, berth.tell_ready if berth else _nothing)
    except SystemExit:
        if not (berth and berth.is_successor):
            failed_start.hold(settings, board)
        raise
    finally:
        if health is not None:
            health.stop()
        for sock in sockets:
            sock.close()


def _start_health_process(settings: Settings, board: Board, sockets: list[socket.socket]) -> HealthProcess | None:
    """Give the second socket to a process of its own, where there can be one; else it is served like the first."""
    if os.name != "posix" or len(sockets) == 1:
        return None
    from azmlinfsrv.health_process import HealthProcess

    health = HealthProcess(settings, board, sockets.pop(), single=True)
    health.start(close=sockets)
    return health


def _serve(
    loaded: boot.Loaded,
    settings: Settings,
    sockets: Sequence[socket.socket],
    metrics: WorkerMetrics | None,
    state: WorkerState,
    tell_ready: Callable[[], object],
) -> None:
    wakeups = socket.socketpair()
    for end in wakeups:
        end.setblocking(False)
    readable = wakeups[0].fileno() if os.name == "posix" else None
    told: list[object] = []

    def beat() -> None:
        """Tell once that requests are served."""
        if not told:
            told.append(tell_ready())

    service = Service(loaded, settings, sockets, asyncio.new_event_loop, beat, readable, metrics, state)
    if settings.tls_certificate is not None:
        from azmlinfsrv import tls

        service.encrypt(tls.own_context(settings))
    descriptor = signal.set_wakeup_fd(wakeups[1].fileno())
    handlers: dict[int, Callable[..., object]] = {signal.SIGTERM: lambda *_: service.stop(), signal.SIGINT: _stop_now}
    if os.name == "posix":
        handlers[signal.SIGHUP] = _stay
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        service.run()
    except StopServing:
        logger.info("Stopped")
    finally:
        signal.set_wakeup_fd(descriptor)
        for number, handler in before.items():
            signal.signal(number, handler)
        for end in wakeups:
            end.close()


def _stay(*_: object) -> None:
    """Say why a reload does nothing here; a process above this one would have let another take its place."""
    logger.warning("A single process does not load its script again: it takes a restart, or gunicorn, or --nginx.")


def _nothing() -> None:
    pass


def _stop_now(*_: object) -> NoReturn:
    raise StopServing
