"""One process without gunicorn, on the standard asyncio loop: for systems that lack either, and for trying things."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
from collections.abc import Sequence
from typing import NoReturn

from azmlinfsrv import boot
from azmlinfsrv.access_settings import hide_keys
from azmlinfsrv.configuration import Configuration
from azmlinfsrv.errors import StopServing
from azmlinfsrv.service import Service
from azmlinfsrv.sockets import BACKLOG, bind, ports

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
    sockets = sockets or [bind(settings.host, port) for port in ports(settings)]
    for sock in sockets:
        sock.listen(BACKLOG)
        sock.setblocking(False)
    if settings.worker_count > 1:
        logger.warning("WORKER_COUNT is %d, but a single process serves.", settings.worker_count)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _stop_now)
    hide_keys(os.environ)
    loaded = boot.load_or_exit(configuration)
    wakeups = socket.socketpair()
    for end in wakeups:
        end.setblocking(False)
    readable = wakeups[0].fileno() if os.name == "posix" else None
    metrics = boot.make_metrics(settings)
    service = Service(loaded, settings, sockets, asyncio.new_event_loop, lambda: None, readable, metrics)
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
        for sock in (*sockets, *wakeups):
            sock.close()


def _stop_now(*_: object) -> NoReturn:
    raise StopServing
