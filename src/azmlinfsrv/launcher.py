"""From settings to a gunicorn application."""

from __future__ import annotations

import gc
import logging
import os
import socket
from collections.abc import Sequence
from typing import Any

from gunicorn.app.base import Application
from gunicorn.config import get_default_config_file
from gunicorn.glogging import Logger

from azmlinfsrv import boot
from azmlinfsrv.configuration import Configuration
from azmlinfsrv.slots import Slots
from azmlinfsrv.sockets import ports, spelt

logger = logging.getLogger("azmlinfsrv")


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


class GunicornApplication(Application):  # type: ignore[misc]  # gunicorn has no types
    """Starts workers that serve the script.

    gunicorn.conf.py and GUNICORN_CMD_ARGS are honoured, as release 1.5.1 does; what is a setting of ours wins.

    Args:
        configuration: the settings.
        sockets: sockets that listen, instead of those of the settings.
    """

    def __init__(self, configuration: Configuration, sockets: Sequence[socket.socket] = ()) -> None:
        self._configuration = configuration
        settings = configuration.settings
        self.slots = Slots(settings.worker_count)
        # gunicorn closes the descriptors that it is given.
        self._bind = [f"fd://{os.dup(sock.fileno())}" for sock in sockets]
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
        self.chdir()

    def _own(self) -> dict[str, Any]:
        settings = self._configuration.settings
        return {
            "bind": self._bind or [spelt(settings.host, port) for port in reversed(ports(settings))],
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

    def load(self) -> Any:
        """Load the script, in the worker, or before the fork with WORKER_PRELOAD."""
        loaded = boot.load_or_exit(self._configuration, forks_later=self.cfg.preload_app)
        if self.cfg.preload_app:
            if loaded.model_data is not None:
                loaded.model_data.flush()  # what init() collected is written once, and not by every worker
            gc.collect()  # what is frozen is never collected, garbage of init() included
            gc.freeze()
        return loaded, self._configuration.settings


def run(configuration: Configuration, sockets: Sequence[socket.socket] = ()) -> None:
    """Serve under gunicorn until it is told to stop; exits the process.

    Args:
        configuration: the settings.
        sockets: sockets that listen, instead of those of the settings.

    Raises:
        SystemExit: always.
    """
    GunicornApplication(configuration, sockets).run()
