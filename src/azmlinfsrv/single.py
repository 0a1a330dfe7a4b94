"""One process without gunicorn, on the standard asyncio loop: for systems that lack either, and for trying things."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, NoReturn

from azmlinfsrv import boot, failed_start
from azmlinfsrv.access_settings import hide_keys
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


def run(configuration: Configuration, sockets: Sequence[socket.socket] = ()) -> None:
    """Serve until a signal says to stop; called in the main thread.

    Args:
        configuration: the settings.
        sockets: sockets that are bound, instead of those of the settings.

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
    board = Board(1, 1)
    slot = board.take()
    state = WorkerState(board, slot)
    state.begin(os.getpid(), time.monotonic())
    health = _start_health_process(settings, board, sockets)
    try:
        hide_keys(os.environ)
        loaded = boot.load_or_exit(configuration, board.fail)
        metrics = WorkerMetrics(board, slot) if settings.metrics_enabled else None
        _serve(loaded, settings, sockets, metrics, state)
    except SystemExit:
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
) -> None:
    wakeups = socket.socketpair()
    for end in wakeups:
        end.setblocking(False)
    readable = wakeups[0].fileno() if os.name == "posix" else None
    service = Service(loaded, settings, sockets, asyncio.new_event_loop, lambda: None, readable, metrics, state)
    if settings.tls_certificate is not None:
        from azmlinfsrv import tls

        service.encrypt(tls.own_context(settings))
    descriptor = signal.set_wakeup_fd(wakeups[1].fileno())
    handlers = {signal.SIGTERM: lambda *_: service.stop(), signal.SIGINT: _stop_now}
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


def _stop_now(*_: object) -> NoReturn:
    raise StopServing
