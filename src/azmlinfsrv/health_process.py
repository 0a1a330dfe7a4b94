"""The process that serves the health port: outside of the workers, so that nothing they do can keep it from answering.

It is forked before the script is loaded, knows the workers by the memory that all share only, and ends with the server.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import time
from collections.abc import Callable, Sequence

from azmlinfsrv.access_log import RequestLog
from azmlinfsrv.app import Application
from azmlinfsrv.child import Part, fork
from azmlinfsrv.cors import Cors
from azmlinfsrv.environment import SERVER_VERSION
from azmlinfsrv.logs import LineClock
from azmlinfsrv.messages import Request, Response
from azmlinfsrv.protocol import Connections
from azmlinfsrv.routes import Health
from azmlinfsrv.server_health import ServerHealth
from azmlinfsrv.service import limits_of
from azmlinfsrv.settings import Settings
from azmlinfsrv.silence import SilenceWatch, longest_silence_s
from azmlinfsrv.sockets import BACKLOG, bind
from azmlinfsrv.telemetry.board import Board
from azmlinfsrv.wire import Limits

logger = logging.getLogger("azmlinfsrv")

_TICK_S = 0.5
_BODY_BYTES = 65536


class HealthProcess:
    """Starts the process, and starts it again when it has died.

    Args:
        settings: the settings.
        board: where the workers say how they are.
        sock: a socket that listens, instead of one on the health port.
        single: whether this process serves requests itself: then a keeper between the two starts the process again,
            because a process with threads should not fork, and the process ends this one where it is silent.
    """

    def __init__(
        self, settings: Settings, board: Board, sock: socket.socket | None = None, *, single: bool = False
    ) -> None:
        self._settings = settings
        self._board = board
        self._sock = sock
        self._single = single
        self._pid = os.getpid()
        self._close: Sequence[socket.socket] = ()
        self._part = Part("the health process", self._start)
        self._complained = False

    def start(self, close: Sequence[socket.socket] = ()) -> None:
        """Start the process.

        Args:
            close: sockets that it must not keep open.

        Raises:
            OSError: the health port cannot be listened on.
        """
        self._listen()
        self._close = close
        self._part.run(time.monotonic())
        if self._single and self._sock is not None:
            self._sock.close()  # the keeper has it

    def check(self, close: Sequence[socket.socket] = ()) -> None:
        """Start the process again if it has died; called about once a second where this process has no threads.

        Args:
            close: see `start`.
        """
        now = time.monotonic()
        if self._part.pid and not _is_alive(self._part.pid):
            self._part.ended(now)
            logger.warning("The health process ended: starting it again.")
        if self._part.pid or now < self._part.due:
            return
        try:
            self.start(close)
        except OSError as error:  # another generation of the server, which is about to end, has the port
            if not self._complained:
                self._complained = True
                logger.warning("The health port %d cannot be listened on yet: %s", self._settings.health_port, error)

    def leave_to_parent(self) -> None:
        """Forget the process and its socket; called in a worker."""
        if self._sock is not None:
            self._sock.close()
        self._part.pid = 0

    def stop(self) -> None:
        """End the process; does nothing in processes that were forked off."""
        if os.getpid() != self._pid:
            return
        if self._part.pid:
            with contextlib.suppress(OSError):
                os.kill(self._part.pid, signal.SIGKILL)
            with contextlib.suppress(ChildProcessError):
                os.waitpid(self._part.pid, 0)
            self._part.pid = 0
        if self._sock is not None:
            self._sock.close()

    def _listen(self) -> None:
        if self._sock is None:
            self._sock = bind(self._settings.host, self._settings.health_port)
            self._sock.listen(BACKLOG)
            self._sock.setblocking(False)

    def _start(self) -> int:
        return fork(self._keep if self._single else self._serve, signal.SIGKILL)

    def _keep(self) -> None:
        """Start the process, and start it again, until the server ends."""
        part = Part("the health process", lambda: fork(self._serve, signal.SIGKILL))
        for sock in self._close:
            sock.close()
        self._close = ()
        while os.getppid() == self._pid:
            now = time.monotonic()
            if part.pid and os.waitpid(part.pid, os.WNOHANG)[0]:
                part.ended(now)
            if not part.pid and now >= part.due:
                part.run(now)
            time.sleep(_TICK_S)

    def _serve(self) -> None:
        for sock in self._close:
            sock.close()
        assert self._sock is not None  # noqa: S101 - made by `start`
        watch = SilenceWatch(self._board, longest_silence_s(self._settings)) if self._single else None
        try:
            serve(self._sock, self._settings, self._board, os.getppid(), watch)
        finally:
            os._exit(0)  # nothing of the server's is this process's to clean up


def serve(
    sock: socket.socket, settings: Settings, board: Board, parent: int, watch: SilenceWatch | None = None
) -> None:
    """Answer on a socket until another process is this one's parent.

    Args:
        sock: a socket that listens.
        settings: the settings.
        board: where the workers say how they are.
        parent: process id of the parent.
        watch: ends workers that are silent, or None.
    """
    loop = asyncio.new_event_loop()
    clock = LineClock()
    connections = Connections(make_health_app(settings, board, clock), _limits(settings), clock, loop.time)

    def tick() -> None:
        if os.getppid() != parent:
            loop.stop()
        loop.call_later(_TICK_S, tick)
        connections.check_timeouts()
        if watch is not None:
            watch.check(time.monotonic())

    try:
        loop.run_until_complete(loop.create_server(connections, sock=sock, backlog=BACKLOG))
        tick()
        loop.run_forever()
    finally:
        loop.close()


def make_health_app(settings: Settings, board: Board, clock: LineClock) -> Application:
    """Return the application of the health port.

    Args:
        settings: the settings.
        board: where the workers say how they are.
        clock: tells the time of log lines.
    """
    health = ServerHealth(board, longest_silence_s(settings))
    table = health.routes(metrics=settings.metrics_enabled)
    kind = Application
    cors = Cors(settings.cors_origins) if settings.cors_origins else None
    version = SERVER_VERSION if settings.send_server_version else ""
    access = None
    if settings.wants_keys:
        from azmlinfsrv.access import make_access

        access = make_access(settings)
    if settings.v2_enabled:
        from azmlinfsrv.inference_app import InferenceApplication, probes

        kind = InferenceApplication
        table.update(probes(health.live, health.ready))
    return kind(table, Health(), _nothing_to_score, cors, version, _NoLines(clock, None), access=access)


class _NoLines(RequestLog):
    """Writes nothing: probes come all the time."""

    def server_line(self, request: Request, response: Response, duration_ms: float) -> None:
        """See `RequestLog.server_line`."""

    def access_line(self, request: Request, status: int, length: int) -> None:
        """See `RequestLog.access_line`."""


def _nothing_to_score(_: Request, __: Callable[[Request, Response], None]) -> None:
    raise AssertionError


def _limits(settings: Settings) -> Limits:
    return limits_of(settings)._replace(body_bytes=_BODY_BYTES)


def _is_alive(pid: int) -> bool:
    """Return whether a child runs; one that has ended is collected, by gunicorn or here."""
    try:
        return os.waitpid(pid, os.WNOHANG)[0] == 0
    except ChildProcessError:
        return False
