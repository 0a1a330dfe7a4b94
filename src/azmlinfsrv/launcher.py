"""From settings to a gunicorn application."""

from __future__ import annotations

import gc
import logging
import os
import socket
import sys
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from gunicorn.app.base import Application, BaseApplication
from gunicorn.config import get_default_config_file
from gunicorn.glogging import Logger

from azmlinfsrv import boot, failed_start, logs
from azmlinfsrv.access_settings import hide_keys
from azmlinfsrv.arbiter import ServerArbiter
from azmlinfsrv.berth import Berth
from azmlinfsrv.configuration import Configuration
from azmlinfsrv.errors import ConfigurationError
from azmlinfsrv.silence import SilenceWatch, longest_silence_s
from azmlinfsrv.slots import Slots
from azmlinfsrv.sockets import spelt

if TYPE_CHECKING:
    import ssl

    from azmlinfsrv.health_process import HealthProcess

logger = logging.getLogger("azmlinfsrv")

# What gunicorn can be told of TLS that would weaken a server if it were passed over in silence.
_TLS_OPTIONS = ("ca_certs", "cert_reqs", "ciphers", "ssl_context", "ssl_version")


class GunicornLogger(Logger):  # type: ignore[misc]  # gunicorn has no types
    """Leaves the loggers as logging.json has set them up."""

    def setup(self, cfg: Any) -> None:
        """Do nothing but take the loggers."""
        self.loglevel = logging.INFO
        self.error_log.propagate = False
        self.access_log.propagate = False

    def reopen_files(self) -> None:
        """Do nothing: there are no files of gunicorn's own."""

    def close_on_exec(self) -> None:
        """Do nothing: there are no files of gunicorn's own."""


class _Hosted(BaseApplication):  # type: ignore[misc]  # gunicorn has no types
    """Runs the application under our arbiter; its base class is the last to do so."""

    def run(self) -> None:
        try:
            ServerArbiter(self).run()
        except RuntimeError as error:
            sys.stderr.write(f"\nError: {error}\n\n")
            sys.exit(1)


class GunicornApplication(Application, _Hosted):  # type: ignore[misc]  # gunicorn has no types
    """Starts workers that serve the script.

    gunicorn.conf.py and GUNICORN_CMD_ARGS are honoured, as release 1.5.1 does; what is a setting of ours wins.

    Args:
        configuration: the settings.
        sockets: sockets that listen, instead of those of the settings.
        berth: its place, where a process above it may let another take it; that process serves the health port.

    Attributes:
        slots: the memory that the workers share.
        health: the process that serves the health port, or None.
        berth: its place, or None.
        tls: how connections are encrypted, or None; made before the workers are forked, and again at SIGHUP.
    """

    def __init__(
        self, configuration: Configuration, sockets: Sequence[socket.socket] = (), berth: Berth | None = None
    ) -> None:
        self._configuration = configuration
        settings = configuration.settings
        self.slots = Slots(settings.worker_count, berth.board if berth else None)
        self.berth = berth
        self.tls: ssl.SSLContext | None = None
        # gunicorn closes the descriptors that it is given.
        self._bind = [f"fd://{os.dup(sock.fileno())}" for sock in sockets]
        self._pid = os.getpid()
        self._silence = SilenceWatch(self.slots.board, longest_silence_s(settings))
        self.health: HealthProcess | None = None
        if settings.separate_health_endpoint and berth is None:
            from azmlinfsrv.health_process import HealthProcess

            self.health = HealthProcess(settings, self.slots.board)
        super().__init__(prog="azmlinfsrv")

    def load_config(self) -> None:
        """Merge gunicorn's own sources with the settings."""
        self.chdir()
        path = get_default_config_file()
        environment = self.cfg.parser().parse_args(self.cfg.get_cmd_args_from_env())
        path = environment.config or path
        if path is not None:
            self.load_config_from_file(path)
        for name, value in vars(environment).items():
            if value is not None and name != "args":
                self.cfg.set(name.lower(), value)
        for name, value in self._own().items():
            if name in self.cfg.settings:
                self.cfg.set(name, value)
        self.slots.watch(self.cfg)
        self._load_tls()
        self.chdir()

    def _load_tls(self) -> None:
        """Read certificate and key; at a reload, files that cannot be used leave the last ones.

        Raises:
            SystemExit: with 3, at the start.
        """
        try:
            self.tls = self._make_tls()
        except ConfigurationError as error:
            if self.tls is None:
                logs.log_configuration_error(error)
                raise SystemExit(boot.STARTUP_FAILURE) from None
            logger.error("The last TLS certificate is kept: %s", error.message)  # noqa: TRY400 - one line

    def _make_tls(self) -> ssl.SSLContext | None:
        settings, cfg = self._configuration.settings, self.cfg
        if not (cfg.certfile or cfg.keyfile or settings.tls_certificate):
            return None
        for name in _TLS_OPTIONS:
            option = cfg.settings.get(name)
            if option is not None and option.get() != option.default:
                raise ConfigurationError(f"gunicorn's option {name} is not supported: have nginx or a gateway do it")
        if settings.nginx:
            if cfg.certfile or cfg.keyfile:
                raise ConfigurationError("gunicorn's certfile and keyfile are not for --nginx: see --tls_certificate")
            return None
        from azmlinfsrv import tls

        if settings.tls_certificate is not None:
            cfg.set("certfile", settings.tls_certificate)
            cfg.set("keyfile", settings.tls_key)
        if not cfg.certfile:
            raise ConfigurationError("gunicorn has a keyfile, and no certfile")
        return tls.server_context(cfg.certfile, cfg.keyfile)

    def _own(self) -> dict[str, Any]:
        settings = self._configuration.settings
        recycling = {
            "max_requests": settings.max_requests,
            "max_requests_jitter": settings.max_requests_jitter,
        }
        return {
            **{name: value for name, value in recycling.items() if value},
            "bind": self._bind or [spelt(settings.host, settings.port)],
            "workers": settings.worker_count,
            "timeout": settings.worker_timeout_s,
            "graceful_timeout": settings.graceful_timeout_s,
            "preload_app": settings.worker_preload,
            "worker_class": "azmlinfsrv.worker.ScoringWorker",
            "logger_class": GunicornLogger,
            "threads": 1,
            "control_socket_disable": True,
            "dirty_workers": 0,
        }

    def run(self) -> None:
        """Serve until the end; the health port is there before the script is loaded, and after that has failed."""
        self._pid = os.getpid()
        if self.health is not None:
            self.health.check()
        try:
            super().run()
        except SystemExit:
            if os.getpid() == self._pid and not (self.berth and self.berth.is_successor):
                failed_start.hold(self._configuration.settings, self.slots.board)
            raise
        finally:
            if self.health is not None:
                self.health.stop()

    def look_after(self, listeners: Sequence[socket.socket]) -> None:
        """Start the health process again if it has died, and end workers that are silent; in the arbiter.

        Args:
            listeners: sockets that are not the health process's.
        """
        self._silence.check(time.monotonic())
        if self.health is not None:
            self.health.check(listeners)

    def load(self) -> Any:
        """Load the script, in the worker, or before the fork with WORKER_PRELOAD."""
        show_keys = hide_keys(os.environ)
        loaded = boot.load_or_exit(self._configuration, self.slots.board.fail, forks_later=self.cfg.preload_app)
        if self.cfg.preload_app:
            show_keys()  # the arbiter may start its successor (SIGUSR2), which needs them
            if loaded.model_data is not None:
                loaded.model_data.flush()  # what init() collected is written once, and not by every worker
            gc.collect()  # what is frozen is never collected, garbage of init() included
            gc.freeze()
        return loaded, self._configuration.settings


def run(configuration: Configuration, sockets: Sequence[socket.socket] = (), berth: Berth | None = None) -> None:
    """Serve under gunicorn until it is told to stop; exits the process.

    Args:
        configuration: the settings.
        sockets: sockets that listen, instead of those of the settings.
        berth: its place, where a process above it may let another take it.

    Raises:
        SystemExit: always.
    """
    if configuration.settings.worker_preload and berth is None and not are_handed_down(os.environ):
        from azmlinfsrv import keeper

        sys.exit(keeper.run(configuration, run))
    GunicornApplication(configuration, sockets, berth).run()


def are_handed_down(environment: Mapping[str, str]) -> bool:
    """Return whether gunicorn takes its sockets from the process that started this one."""
    return "GUNICORN_FD" in environment or "LISTEN_FDS" in environment
