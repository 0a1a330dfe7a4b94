"""A worker's two threads: the I/O loop beside the scoring loop, from the first connection to the last answer."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from azmlinfsrv.acceptor import LEAVING, Acceptor, Load, end_handshakes
from azmlinfsrv.app import Application
from azmlinfsrv.boot import Loaded, make_app, make_log
from azmlinfsrv.contention import Contention
from azmlinfsrv.errors import WorkerStuckError
from azmlinfsrv.logs import LineClock, line_handlers
from azmlinfsrv.messages import Response
from azmlinfsrv.outputs import error_response
from azmlinfsrv.protocol import Connections
from azmlinfsrv.settings import Settings
from azmlinfsrv.sockets import BACKLOG, PROXY_LAST_IDLE_S
from azmlinfsrv.strategy import make_runner
from azmlinfsrv.stuck_watch import STUCK_EXIT, StuckWatch
from azmlinfsrv.telemetry.life import WorkerTelemetry
from azmlinfsrv.telemetry.metrics import WorkerMetrics
from azmlinfsrv.wire import Limits
from azmlinfsrv.worker_state import OVERLOADED, STOPPING, STUCK, WorkerState

if TYPE_CHECKING:
    import ssl

logger = logging.getLogger("azmlinfsrv")

TICK_S = 0.25
# How long a worker that ends keeps connections without a request: whoever sends one more gets its answer.
_LAST_IDLE_S = 1.0
# Within this time after the last socket was closed, every connection that was taken is known.
_SETTLE_S = 0.02
# The arbiter kills at the end of the graceful timeout: telemetry is done before, or takes this long at the most.
_STOP_MARGIN_S = 0.5
_STOP_TELEMETRY_S = 1.0
# How long a worker that is stuck keeps its connections, so that those who send one more request get an answer.
_STUCK_HOLD_S = 0.25


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
        state: where the worker says how it is, or None.
    """

    def __init__(  # noqa: PLR0913 - what a worker is made of
        self,
        loaded: Loaded,
        settings: Settings,
        sockets: Sequence[socket.socket],
        new_loop: Callable[[], asyncio.AbstractEventLoop],
        heartbeat: Callable[[], None],
        signals: int | None = None,
        metrics: WorkerMetrics | None = None,
        state: WorkerState | None = None,
    ) -> None:
        self._state = state
        self._load: Load | None = None
        self._tls: ssl.SSLContext | None = None
        self._signals = signals
        self._loaded = loaded
        self._settings = settings
        self._sockets = sockets
        self._loop = new_loop()
        self._heartbeat = heartbeat
        self._contention = Contention()
        self._telemetry = WorkerTelemetry(metrics, loaded.observer, loaded.model_data)
        self._runner = make_runner(
            loaded.script, settings, loaded.drain, loaded.observer, loaded.limits, loaded.inference
        )
        self._watch = StuckWatch(self._runner, settings.stuck_grace_ms, self._give_way)
        self._thread = threading.Thread(target=self._run_io, name="io", daemon=True)
        self._started = threading.Event()
        self._failure: BaseException | None = None
        self._servers: list[asyncio.Server | Acceptor] = []
        self._app: Application | None = None
        self._connections: Connections | None = None
        self._stop_by = self._hold_until = 0.0
        self._hold_s = PROXY_LAST_IDLE_S if settings.nginx else _LAST_IDLE_S
        self._stopping = self._settled = False
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

    def encrypt(self, context: ssl.SSLContext | None) -> None:
        """Speak TLS; called before `run`."""
        self._tls = context

    def stop(self) -> None:
        """Take no more connections, finish the requests that are here, and make `run` return.

        Called on any thread, or from a signal handler.
        """
        self._stopping = True
        with contextlib.suppress(RuntimeError):  # the loop is closed: stopped already
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
            end_handshakes(loop)
            loop.close()

    async def _open(self) -> None:
        loop, settings = self._loop, self._settings
        clock = LineClock()
        log = make_log(settings, clock, loop.call_later)
        self._app = make_app(self._loaded, settings, self._runner, log, self._telemetry.metrics)
        is_encrypted = self._tls is not None or settings.tls_certificate is not None
        self._connections = Connections(
            self._app,
            limits_of(settings),
            clock,
            loop.time,
            scheme="https" if is_encrypted else "http",
            behind_nginx=settings.nginx,
            admission=self._runner.admission,
            half_close_s=settings.half_close_timeout_ms / 1000 or math.inf,
        )
        self._runner.before_run = log.before_run
        self._runner.attach(loop.call_soon, loop.call_soon_threadsafe, loop.call_later)
        for sock in self._sockets:
            self._servers.append(await self._accept(sock, self._connections))
        if self._load is not None:
            self._share(self._load, self._connections)
        if self._signals is not None:
            loop.add_reader(self._signals, self._read_signals, self._signals)
        if self._state is not None:
            self._app.health.changed = self._state.tell
            self._state.beat(time.monotonic())
            self._state.tell(())
        self._tick()
        self._runner.watch_deadlines(loop)

    async def _accept(self, sock: socket.socket, connections: Connections) -> asyncio.Server | Acceptor:
        """Begin to take the connections of a socket: in turns with the other workers, if there may be any."""
        handshake_s = self._settings.header_timeout_ms / 1000 if self._tls is not None else None
        if self._load is None:
            return await self._loop.create_server(
                connections, sock=sock, backlog=BACKLOG, ssl=self._tls, ssl_handshake_timeout=handshake_s
            )
        acceptor = Acceptor(self._loop, sock, connections, self._load, self._tls, handshake_s)
        acceptor.open()
        return acceptor

    def _share(self, load: Load, connections: Connections) -> None:
        """Keep the other workers informed of what there is to do here."""
        runner = self._runner

        def changed() -> None:
            if self._servers:
                load.tell(runner.pending + (LEAVING if connections.closing else 0), len(connections.open))

        runner.on_change(changed)
        runner.admission.others = load.others
        connections.changed = changed
        changed()

    def _stop_telemetry(self) -> None:
        """Let what was collected go, in what is left of the graceful timeout, or a short while."""
        now = time.monotonic()
        left_s = self._stop_by - now if self._stop_by else 0.0
        within_s = max(left_s - _STOP_MARGIN_S, _STOP_TELEMETRY_S)
        if self._state is not None:
            self._state.beat(now + 2 * within_s + _STOP_MARGIN_S)  # there is nobody to give a sign of life meanwhile
        self._telemetry.stop(within_s)

    def _read_signals(self, descriptor: int) -> None:
        """Begin a stop at once, whatever the main thread does, and have it run the handlers."""
        if signal.SIGTERM in os.read(descriptor, 4096):
            self._stopping = True
            self._tick_once()
        self._runner.nudge()

    def _tick(self) -> None:
        self._loop.call_later(TICK_S, self._tick)  # first, so that a failure is not the last sign of life
        self._tick_once()

    def _tick_once(self) -> None:
        if self._state is not None:
            self._state.beat(time.monotonic())
        self._heartbeat()
        self._watch.check(time.perf_counter())
        self._runner.gives_turns = self._contention.check(self._runner.answered)
        if self._app is not None:
            say = self._app.health.set if self._runner.admission.is_refusing else self._app.health.clear
            say(OVERLOADED)
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
            self._begin_stop(now, connections, app)
        self._close_servers()
        late = now >= self._stop_by
        if now >= self._hold_until:
            connections.close_idle(now - self._hold_s)
        if late:
            connections.abort_all()
        if late or (self._settled and self._runner.pending == 0 and not connections.open):
            self._runner.stop()
        if now >= self._stop_by + 1 and not self._served:
            self._stop_telemetry()
            flush_logs()
            os._exit(0)  # run() does not come back: nothing else ends it

    def _give_way(self) -> None:
        """Take no more work and end: a call of `run()` does not come back. What waits is refused."""
        if self._app is not None:
            self._app.health.set(STUCK)
        self._close_servers()
        if self._connections is not None:
            self._connections.closing = True
        self._runner.refuse(self._refusal)
        self._loop.call_later(_STUCK_HOLD_S, self._end_stuck)

    def _refusal(self) -> Response:
        """Return the answer of requests that a stuck worker cannot score."""
        error = WorkerStuckError()
        error.retry_after_s = 2 + int(self._loaded.init_s)
        return error_response(error)

    def _end_stuck(self) -> None:
        """End the process, although its main thread does not: nothing else would."""
        self._stop_telemetry()
        logger.info("Worker with pid %d ends with code %d", os.getpid(), 0 if self._stopping else STUCK_EXIT)
        flush_logs()
        os._exit(0 if self._stopping else STUCK_EXIT)

    def _begin_stop(self, now: float, connections: Connections, app: Application) -> None:
        """Close connections after their next answer; idle ones are held, since a request may be on its way."""
        settings = self._settings
        self._stop_by = now + settings.graceful_timeout_s
        self._hold_until = min(now + self._hold_s, self._stop_by)
        connections.closing = True
        if not (settings.nginx or (self._state is not None and self._state.is_retired)):
            app.health.set(STOPPING)  # else another worker takes over: behind nginx a stop begins with nginx

    def _close_servers(self) -> None:
        """Take no more connections; those that the loop has taken, but told nobody of yet, are still served."""
        if not self._servers:
            return
        for server in self._servers:
            server.close()
        self._servers.clear()
        if self._load is not None:
            self._load.withdraw()
        self._loop.call_later(_SETTLE_S, self._settle)

    def _settle(self) -> None:
        self._settled = True
        self._tick_once()


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
