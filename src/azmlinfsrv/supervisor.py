"""One process that runs nginx and the server behind it: starts them, restarts what dies, stops them in order.

It holds the sockets of both, so that a connection that is made while one of them is being restarted waits, and is not
refused.
"""

from __future__ import annotations

import contextlib
import dataclasses
import grp
import logging
import os
import pwd
import resource
import select
import shutil
import signal
import socket
import tempfile
import time
from typing import TYPE_CHECKING

from azmlinfsrv import logs, nginx, nginx_log, private_folder
from azmlinfsrv.berth import Berth
from azmlinfsrv.child import Part, fork
from azmlinfsrv.configuration import Configuration
from azmlinfsrv.errors import ConfigurationError
from azmlinfsrv.keeper import Host
from azmlinfsrv.nginx import Nginx, Site
from azmlinfsrv.reaping import ended_children
from azmlinfsrv.settings import Settings
from azmlinfsrv.silence import SilenceWatch, longest_silence_s
from azmlinfsrv.sockets import BACKLOG, SERVER_IDLE_S, bind, bind_unix, parse_internal_address, spelt
from azmlinfsrv.succession import Succession

if TYPE_CHECKING:
    from azmlinfsrv.health_process import HealthProcess

logger = logging.getLogger("azmlinfsrv")

TICK_S = 1.0
# How long the server may take to end behind its own graceful timeout.
_KILL_S = 3.0
_CONNECTIONS = 8192
_READ_BYTES = 65536
_STOPS = {signal.SIGTERM: False, signal.SIGINT: True, signal.SIGQUIT: True}
_FORWARDED = (signal.SIGUSR1, signal.SIGTTIN, signal.SIGTTOU)
_IGNORED = (signal.SIGUSR2, signal.SIGWINCH)
# gunicorn's codes of a start that failed: doing it again would fail again.
_FINAL_CODES = frozenset({1, 3, 4})


def run(configuration: Configuration, host: Host, *, single: bool) -> int:
    """Serve until a signal says to stop, and return the exit code of the process.

    Args:
        configuration: the settings.
        host: runs the server, in a process of its own.
        single: whether that process serves itself, without workers.

    Returns:
        0 after a signal; else the code of the part that could not be kept up.

    Raises:
        ConfigurationError: nginx is missing, or the server's address cannot be used.
        OSError: a port cannot be listened on.
    """
    settings = configuration.settings
    program = nginx.find(settings.nginx_program)
    if settings.log_level:
        logs.set_level(settings.log_level)
    supervisor = Supervisor(configuration, program, host, single=single)
    try:
        return supervisor.run()
    finally:
        supervisor.close()


def server_settings(settings: Settings) -> Settings:
    """Return the settings of the server behind nginx: what faces clients is nginx's to limit."""
    return dataclasses.replace(
        settings,
        max_header_bytes=settings.max_header_bytes + nginx.ADDED_BYTES,
        keep_alive_timeout_ms=SERVER_IDLE_S * 1000,
    )


def site(modules: tuple[str, ...], addresses: tuple[str, ...]) -> Site:
    """Return what nginx's configuration needs to know of this machine."""
    user = _unprivileged_user() if os.geteuid() == 0 else ""
    return Site(addresses, _connections(), user, modules)


def print_config(configuration: Configuration) -> str:
    """Return the configuration that nginx would get, without listening anywhere.

    Raises:
        ConfigurationError: nginx is missing, or the server's address not valid.
        OSError: the host has no address.
    """
    settings = configuration.settings
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    host = str(socket.getaddrinfo(settings.host, None, family, socket.SOCK_STREAM)[0][4][0])
    addresses = (spelt(host, settings.port),)
    modules = nginx.find(settings.nginx_program).modules
    return nginx.render(settings, site(modules, addresses), configuration.sources)


def _unprivileged_user() -> str:
    """Return the user and group that nginx's workers get where it is started by root."""
    with contextlib.suppress(KeyError):
        nobody = pwd.getpwnam("nobody")
        return f"nobody {grp.getgrgid(nobody.pw_gid).gr_name}"
    return "root root"


def _connections() -> int:
    """Return how many connections a process may have: a client's is two of them."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return _CONNECTIONS if hard == resource.RLIM_INFINITY else max(64, min(_CONNECTIONS, hard // 2))


class Supervisor:
    """Runs nginx and the server.

    Args:
        configuration: the settings.
        program: nginx.
        host: runs the server.
        single: whether the server has no workers.
    """

    def __init__(self, configuration: Configuration, program: Nginx, host: Host, *, single: bool) -> None:
        self._configuration = configuration
        self._settings = settings = configuration.settings
        self._program = program
        self._host = host
        self._pid = os.getpid()
        self._public: list[socket.socket] = []
        self._internal: socket.socket | None = None
        self._health: HealthProcess | None = None
        self._wakeups = socket.socketpair()
        self._logs = (os.pipe(), os.pipe())
        self._partial = [b"", b""]
        self._nginx = Part("nginx", self._start_nginx)
        self._server = Succession(self._serve, 1 if single else settings.worker_count)
        self._silence = SilenceWatch(self._server.board, longest_silence_s(settings) if single else float("inf"))
        # An arbiter that has not loaded the script reloads by itself, one worker after the other.
        self._succeeds = single or settings.worker_preload
        self._code = 0
        self._stopping = self._fast = False
        self._stop_by = self._kill_by = 0.0
        self._public.append(bind(settings.host, settings.port))
        self._public[0].listen(BACKLOG)
        if settings.separate_health_endpoint:
            from azmlinfsrv.health_process import HealthProcess

            self._health = HealthProcess(settings, self._server.board)
        self._listen_internally()
        self._folder = private_folder.make(tempfile.gettempdir())

    def run(self) -> int:
        """Run both until they are stopped; return the exit code."""
        self._install_signals()
        addresses = tuple(spelt(*sock.getsockname()[:2]) for sock in self._public)
        with open(self._path("nginx.conf"), "w", encoding="utf-8", errors="surrogateescape") as file:
            found = site(self._program.modules, addresses)
            file.write(nginx.render(self._settings, found, self._configuration.sources))
        if os.geteuid() == 0:
            os.chmod(self._folder.path, 0o711)  # noqa: S103 - nginx's workers, another user, pass through to their folders
        while not (self._stopping and self._is_down()):
            now = time.monotonic()
            self._look_after(now)
            if self._stopping:
                self._drain(now)
            else:
                self._start_due(now)
            self._wait(now)
        return self._code

    def close(self) -> None:
        """Leave nothing behind; does nothing in the processes that were forked off."""
        if os.getpid() != self._pid:
            return
        signal.set_wakeup_fd(-1)
        for part in (self._nginx, self._server):
            part.kill()
        self._read_logs()
        if self._health is not None:
            self._health.stop()
        for sock in (*self._public, *self._wakeups, self._internal):
            if sock is not None:
                sock.close()
        address = parse_internal_address(self._settings.server_address)
        if isinstance(address, str) and self._internal is not None:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(address)
        self._folder.remove()

    # -- sockets and signals -----------------------------------------------------------------------------------

    def _path(self, name: str) -> str:
        return os.path.join(self._folder.path, name)

    def _listen_internally(self) -> None:
        """Listen where nginx finds the server; a Unix socket is made again where its name is gone.

        Raises:
            ConfigurationError: that is not possible.
        """
        address = parse_internal_address(self._settings.server_address)
        if self._internal is not None:
            if not isinstance(address, str) or os.path.exists(address):
                return
            self._internal.close()
        try:
            self._internal = bind_unix(address) if isinstance(address, str) else bind(*address)
            self._internal.listen(BACKLOG)
            if isinstance(address, str) and os.geteuid() == 0:
                shutil.chown(address, _unprivileged_user().partition(" ")[0])
        except OSError as error:
            message = f"server_address {self._settings.server_address!r} cannot be listened on: {error}"
            raise ConfigurationError(message) from error

    def _install_signals(self) -> None:
        for sock in self._wakeups:
            sock.setblocking(False)
        for reader, _ in self._logs:
            os.set_blocking(reader, False)
        signal.set_wakeup_fd(self._wakeups[1].fileno(), warn_on_full_buffer=False)
        for number in (*_STOPS, *_FORWARDED, *_IGNORED, signal.SIGHUP, signal.SIGCHLD):
            signal.signal(number, lambda *_: None)

    def _wait(self, now: float) -> None:
        """Wait for a signal, a line of nginx's or the next thing to do, and see to it."""
        due = [part.due - now for part in (self._nginx, self._server) if not part.pid and not self._stopping]
        if self._stopping:
            due += [moment - now for moment in (self._stop_by, self._kill_by) if moment > now]
        timeout = max(0.0, min([TICK_S, *due]))
        wakeup = self._wakeups[0].fileno()
        waits = [wakeup, *(reader for reader, _ in self._logs), *self._server.waits]
        readable, _, _ = select.select(waits, [], [], timeout)
        self._read_logs()
        if wakeup in readable:
            for number in self._wakeups[0].recv(4096):
                self._on_signal(number)
        if set(readable) & set(self._server.waits):
            self._server.check()
        self._collect()

    def _on_signal(self, number: int) -> None:
        if number in _STOPS:
            self._stop(fast=_STOPS[signal.Signals(number)] or self._stopping)
        elif self._stopping:
            pass
        elif number == signal.SIGHUP:
            self._reload()
        elif number == signal.SIGUSR1:
            self._nginx.send(number)
        elif number in _FORWARDED:
            self._server.forward(number)

    def _reload(self) -> None:
        """Have the script loaded again, and the certificate."""
        if self._succeeds:
            self._listen_internally()
            self._server.succeed()
        else:
            self._server.forward(signal.SIGHUP)
        if self._settings.tls_certificate is not None:
            self._nginx.send(signal.SIGHUP)

    def _read_logs(self) -> None:
        for index, write in enumerate((nginx_log.log_access_line, nginx_log.log_error_line)):
            with contextlib.suppress(BlockingIOError):
                while data := os.read(self._logs[index][0], _READ_BYTES):
                    *lines, self._partial[index] = (self._partial[index] + data).split(b"\n")
                    for line in lines:
                        write(line.decode("utf-8", "backslashreplace"))

    # -- the parts ---------------------------------------------------------------------------------------------

    def _look_after(self, now: float) -> None:
        """Keep the process of the health port up, and end a single process that gives no sign of life."""
        self._silence.check(now)
        if self._health is not None:
            internal = [self._internal] if self._internal is not None else []
            self._health.check([*self._public, *internal, *self._wakeups])

    def _serve(self, berth: Berth) -> None:
        """Become the server; in its process."""
        if self._health is not None:
            self._health.leave_to_parent()
        assert self._internal is not None  # noqa: S101 - made before the start
        for sock in (*self._public, *self._wakeups):
            sock.close()
        for descriptor in (self._folder.lock, *self._logs[0], *self._logs[1]):
            os.close(descriptor)
        configuration = self._configuration._replace(settings=server_settings(self._settings))
        self._host(configuration, [self._internal], berth)

    def _start_nginx(self) -> int:
        return fork(self._become_nginx, signal.SIGTERM)

    def _become_nginx(self) -> None:
        """Become nginx; in its process. It finds its sockets as it does while it upgrades itself."""
        for index, (_, writer) in enumerate(self._logs):
            os.dup2(writer, index + 1)
        for sock in self._public:
            sock.set_inheritable(True)
        os.set_inheritable(self._folder.lock, True)  # the folder is in use as long as nginx lives
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        wanted = 2 * _CONNECTIONS if hard == resource.RLIM_INFINITY else min(2 * _CONNECTIONS, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        arguments = [self._program.path, "-p", self._folder.path + os.sep, "-c", self._path("nginx.conf")]
        if self._program.version >= (1, 19, 5):
            arguments += ["-e", "stderr"]
        environment = {name: os.environ[name] for name in ("PATH", "TZ", "LD_LIBRARY_PATH") if name in os.environ}
        environment["NGINX"] = "".join(f"{sock.fileno()};" for sock in self._public)
        os.execve(self._program.path, arguments, environment)  # noqa: S606 - no shell is wanted

    def _start_due(self, now: float) -> None:
        for part in (self._server, self._nginx):
            if not part.pid and now >= part.due:
                self._listen_internally()
                part.run(now)

    def _collect(self) -> None:
        """See who has ended, orphans of theirs included where this is the first process of a container."""
        for pid, code in ended_children():
            if self._server.collected(pid, code):
                continue
            for part in (self._nginx, self._server):
                if part.pid == pid:
                    self._ended(part, code)

    def _ended(self, part: Part, code: int) -> None:
        part.ended(time.monotonic())
        if self._stopping:
            return
        what = f"signal {-code}" if code < 0 else f"code {code}"
        part.leave(signal.SIGQUIT if part is self._nginx else None)
        if part.gave_up or (part is self._server and code in _FINAL_CODES):
            self._code = 128 - code if code < 0 else code or 1
            if code not in _FINAL_CODES or part is self._nginx:
                logger.error("%s ended with %s and cannot be kept up: stopping.", part.name, what)
            self._stop(fast=part is self._server)
        else:
            logger.warning("%s ended with %s: starting it again.", part.name, what)

    # -- the stop ----------------------------------------------------------------------------------------------

    def _stop(self, fast: bool) -> None:
        """Take no more connections, and have nginx finish what it has."""
        now = time.monotonic()
        if not self._stopping:
            for sock in self._public:
                sock.close()
            self._stop_by = now + self._settings.graceful_timeout_s
        self._stopping = True
        self._kill_by = 0.0
        if fast:
            self._fast, self._stop_by = True, now
        self._nginx.send(signal.SIGTERM if fast else signal.SIGQUIT)

    def _drain(self, now: float) -> None:
        """Bring the stop one step further: nginx, then the server."""
        if self._nginx.pid and now < self._stop_by + (_KILL_S if self._fast else 0):
            return
        if self._nginx.pid and not self._kill_by:
            self._nginx.send(signal.SIGTERM)
        if not self._kill_by:
            self._server.send(signal.SIGINT if self._fast else signal.SIGTERM)
            self._kill_by = max(now, self._stop_by) + _KILL_S
        elif now >= self._kill_by:
            self._nginx.kill()
            self._server.kill()

    def _is_down(self) -> bool:
        return not self._nginx.pid and self._server.is_down
