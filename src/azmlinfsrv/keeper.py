"""The process above gunicorn's arbiter where the script is loaded before the fork: it never loads it itself.

So it can start an arbiter that loads the script as it is now beside the one that serves (SIGHUP), and hold the sockets
and the health port for both.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from azmlinfsrv.berth import Berth
from azmlinfsrv.configuration import Configuration
from azmlinfsrv.reaping import ended_children
from azmlinfsrv.sockets import BACKLOG, bind
from azmlinfsrv.succession import Succession

if TYPE_CHECKING:
    from azmlinfsrv.health_process import HealthProcess

# What hosts the server in a process, on sockets that listen.
Host = Callable[[Configuration, Sequence[socket.socket], Berth], None]

_TICK_S = 1.0
# How long the server may take to end behind its own graceful timeout.
_KILL_S = 4.0
_STOPS = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)
_FORWARDED = (signal.SIGUSR1, signal.SIGTTIN, signal.SIGTTOU)
_IGNORED = (signal.SIGUSR2, signal.SIGWINCH)


def run(configuration: Configuration, host: Host) -> int:
    """Serve until a signal says to stop, and return the exit code of the process.

    Args:
        configuration: the settings.
        host: runs the server, in a process of its own.

    Raises:
        OSError: a port cannot be listened on.
    """
    keeper = Keeper(configuration, host)
    try:
        return keeper.run()
    finally:
        keeper.close()


class Keeper:
    """Keeps the server that serves, and lets another take its place.

    Args:
        configuration: the settings.
        host: runs the server.
    """

    def __init__(self, configuration: Configuration, host: Host) -> None:
        self._configuration = configuration
        self._host = host
        self._pid = os.getpid()
        settings = configuration.settings
        self._server = Succession(self._serve, settings.worker_count)
        self._wakeups = socket.socketpair()
        self._socket = bind(settings.host, settings.port)
        self._socket.listen(BACKLOG)
        self._health: HealthProcess | None = None
        if settings.separate_health_endpoint:
            from azmlinfsrv.health_process import HealthProcess

            self._health = HealthProcess(settings, self._server.board)
        self._code = 0
        self._kill_by = float("inf")

    def run(self) -> int:
        """Run it until it ends; return the exit code."""
        for end in self._wakeups:
            end.setblocking(False)
        signal.set_wakeup_fd(self._wakeups[1].fileno(), warn_on_full_buffer=False)
        for number in (*_STOPS, *_FORWARDED, *_IGNORED, signal.SIGHUP, signal.SIGCHLD):
            signal.signal(number, lambda *_: None)
        self._look_after_health()
        self._server.run(time.monotonic())
        while not self._server.is_down:
            self._wait()
            self._collect()
            self._look_after_health()
            if time.monotonic() > self._kill_by:
                self._server.kill()
        return self._code

    def close(self) -> None:
        """Leave nothing behind; does nothing in the processes that were forked off."""
        if os.getpid() != self._pid:
            return
        signal.set_wakeup_fd(-1)
        self._server.kill()
        if self._health is not None:
            self._health.stop()
        for sock in (self._socket, *self._wakeups):
            sock.close()

    def _serve(self, berth: Berth) -> None:
        """Become a server; in its process."""
        for end in self._wakeups:
            end.close()
        if self._health is not None:
            self._health.leave_to_parent()
        self._host(self._configuration, [self._socket], berth)

    def _look_after_health(self) -> None:
        if self._health is not None:
            self._health.check([self._socket, *self._wakeups])

    def _wait(self) -> None:
        """Wait for a signal or a server that is ready, and see to it."""
        wakeup = self._wakeups[0].fileno()
        readable, _, _ = select.select([wakeup, *self._server.waits], [], [], _TICK_S)
        if wakeup in readable:
            for number in self._wakeups[0].recv(4096):
                self._on_signal(number)
        if set(readable) & set(self._server.waits):
            self._server.check()

    def _on_signal(self, number: int) -> None:
        if number in _STOPS:
            self._stop(number)
        elif self._kill_by < float("inf"):
            pass  # it stops
        elif number == signal.SIGHUP:
            self._server.succeed()
        elif number in _FORWARDED:
            self._server.forward(number)

    def _stop(self, number: int) -> None:
        self._server.send(number)
        self._kill_by = min(self._kill_by, time.monotonic() + self._configuration.settings.graceful_timeout_s + _KILL_S)

    def _collect(self) -> None:
        """See who has ended; the one that serves is not started again, as gunicorn is not that has no keeper."""
        for pid, code in ended_children():
            if not self._server.collected(pid, code) and pid == self._server.pid:
                self._server.ended(time.monotonic())
                self._code = 128 - code if code < 0 else code
                self._server.leave(None)
                self._stop(signal.SIGTERM)
