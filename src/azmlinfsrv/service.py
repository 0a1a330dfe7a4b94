"""A worker's two threads: the I/O loop beside the scoring loop, from the first connection to the last answer."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Sequence

from azmlinfsrv.acceptor import Acceptor, Load
from azmlinfsrv.app import Application
from azmlinfsrv.boot import Loaded, make_app, make_log
from azmlinfsrv.logs import LineClock, line_handlers
from azmlinfsrv.protocol import Connections
from azmlinfsrv.settings import Settings
from azmlinfsrv.sockets import BACKLOG
from azmlinfsrv.strategy import make_runner
from azmlinfsrv.telemetry.life import WorkerTelemetry
from azmlinfsrv.telemetry.metrics import WorkerMetrics
from azmlinfsrv.wire import Limits

logger = logging.getLogger("azmlinfsrv")

TICK_S = 0.25
# The arbiter kills at the end of the graceful timeout: telemetry is done before, or takes this long at the most.
_STOP_MARGIN_S = 0.5
_STOP_TELEMETRY_S = 1.0


class Service:
    """Serves a loaded script on listening sockets.

    Args:
        loaded: the script.
        settings: the settings.
        sockets: sockets to accept from; they stay the caller's.
        new_loop: makes the I/O loop.
        heartbeat: called about four times a second on the I/O thread.
        signals: descriptor from which the numbers of signals can be read as they arrive (`signal.set_wakeup_fd`).
        metrics: what counts requests, or None.
    """

    def __init__(
        self,
        loaded: Loaded,
        settings: Settings,
        sockets: Sequence[socket.socket],
        new_loop: Callable[[], asyncio.AbstractEventLoop],
        heartbeat: Callable[[], None],
        signals: int | None = None,
        metrics: WorkerMetrics | None = None,
    ) -> None:
        self._load: Load | None = None
        self._signals = signals
        self._loaded = loaded
        self._settings = settings
        self._sockets = sockets
        self._loop = new_loop()
        self._heartbeat = heartbeat
        self._telemetry = WorkerTelemetry(metrics, loaded.observer, loaded.model_data)
        self._runner = make_runner(loaded.script, settings, loaded.drain, loaded.observer, loaded.limits)
        self._thread = threading.Thread(target=self._run_io, name="io", daemon=True)
        self._started = threading.Event()
        self._failure: BaseException | None = None
        self._servers: list[asyncio.Server | Acceptor] = []
        self._app: Application | None = None
        self._connections: Connections | None = None
        self._stop_by = 0.0
        self._stopping = False
        self._served = False

    def run(self) -> None:
        """Serve until `stop`; called in the main thread.

        Raises:
            OSError: a socket cannot be listened on.
        """
        self._telemetry.start()
        self._thread.start()
        self._started.wait()
        if self._failure is not None:
            raise self._failure
        logger.info("Worker with pid %d ready for serving traffic", os.getpid())
        try:
            self._runner.serve()
        finally:
            self._served = True
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._stop_telemetry()
            flush_logs()

    def replace_after(self, requests: int, replace: Callable[[], None]) -> None:
        """Have a function called on the I/O thread once that many requests have been answered."""
        self._runner.enough, self._runner.on_enough = requests, replace

    def take_turns(self, load: Load) -> None:
        """Share connections with the other workers, by what there is to do; called before `run`."""
        self._load = load

    def stop(self) -> None:
        """Take no more connections, finish the requests that are here, and make `run` return.

        Called on any thread, or from a signal handler.
        """
        self._stopping = True
        self._loop.call_soon_threadsafe(self._tick_once)

    # -- I/O thread --------------------------------------------------------------------------------------------

    def _run_io(self) -> None:
        if hasattr(signal, "pthread_sigmask"):
            signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        loop = self._loop
        asyncio.set_event_loop(loop)
        try:
            loop.run_until_complete(self._open())
        except BaseException as error:  # noqa: BLE001 - raised again in the main thread
            self._failure = error
            self._started.set()
            return
        self._started.set()
        try:
            loop.run_forever()
        finally:
            self._runner.completions.attach(None)
            loop.close()

    async def _open(self) -> None:
        loop, settings = self._loop, self._settings
        clock = LineClock()
        log = make_log(settings, clock, loop.call_later)
        self._app = make_app(self._loaded, settings, self._runner, log, self._telemetry.metrics)
        self._connections = Connections(self._app, limits_of(settings), clock, loop.time, behind_nginx=settings.nginx)
        self._runner.attach(loop.call_soon, loop.call_soon_threadsafe)
        if self._load is not None:
            self._share(self._load, self._connections)
        for sock in self._sockets:
            self._servers.append(await self._accept(sock, self._connections))
        if self._signals is not None:
            loop.add_reader(self._signals, self._read_signals, self._signals)
        self._tick()
        self._runner.watch_deadlines(loop)

    async def _accept(self, sock: socket.socket, connections: Connections) -> asyncio.Server | Acceptor:
        """Begin to take the connections of a socket: in turns with the other workers, if there may be any."""
        if self._load is None:
            return await self._loop.create_server(connections, sock=sock, backlog=BACKLOG)
        acceptor = Acceptor(self._loop, sock, connections, self._load)
        acceptor.open()
        return acceptor

    def _share(self, load: Load, connections: Connections) -> None:
        """Keep the other workers informed of what there is to do here."""
        runner = self._runner

        def changed() -> None:
            if not connections.closing:
                load.tell(runner.pending, len(connections.open))

        runner.on_change(changed)
        connections.changed = changed
        changed()

    def _stop_telemetry(self) -> None:
        """Let what was collected go, in what is left of the graceful timeout, or a short while."""
        left_s = self._stop_by - time.monotonic() if self._stop_by else 0.0
        self._telemetry.stop(max(left_s - _STOP_MARGIN_S, _STOP_TELEMETRY_S))

    def _read_signals(self, descriptor: int) -> None:
        """Begin a stop at once, whatever the main thread does, and have it run the handlers."""
        if signal.SIGTERM in os.read(descriptor, 4096):
            self._stopping = True
            self._tick_once()
        self._runner.nudge()

    def _tick(self) -> None:
        self._tick_once()
        self._loop.call_later(TICK_S, self._tick)

    def _tick_once(self) -> None:
        self._heartbeat()
        self._telemetry.tick()
        if self._connections is not None:
            self._connections.check_timeouts()
        if self._stopping:
            self._drain()

    def _drain(self) -> None:
        """Bring the stop one step further."""
        now = self._loop.time()
        connections, app = self._connections, self._app
        if connections is None or app is None:
            return
        if not connections.closing:
            self._stop_by = now + self._settings.graceful_timeout_s
            app.health.ready = False
            for server in self._servers:
                server.close()
            connections.close_idle()
            if self._load is not None:
                self._load.withdraw()
        late = now >= self._stop_by
        if late:
            connections.abort_all()
        if late or (self._runner.pending == 0 and not connections.open):
            self._runner.stop()
        if now >= self._stop_by + 1 and not self._served:
            self._stop_telemetry()
            flush_logs()
            os._exit(0)  # run() does not come back: nothing else ends it


def flush_logs() -> None:
    """Write the lines that wait."""
    for handler in line_handlers():
        handler.write_lines()


def limits_of(settings: Settings) -> Limits:
    """Return the limits of connections."""
    return Limits(
        settings.max_body_bytes,
        settings.max_header_bytes,
        settings.header_timeout_ms / 1000,
        settings.body_timeout_ms / 1000,
        settings.request_timeout_ms / 1000,
        settings.keep_alive_timeout_ms / 1000,
        settings.write_timeout_ms / 1000,
    )
