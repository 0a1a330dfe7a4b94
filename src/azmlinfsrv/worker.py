"""The gunicorn worker: one process with an I/O thread and the scoring loop."""

from __future__ import annotations

import faulthandler
import logging
import os
import signal
import time
from typing import Any

import uvloop
from gunicorn.workers.base import Worker

from azmlinfsrv.acceptor import Load
from azmlinfsrv.access_settings import hide_keys
from azmlinfsrv.errors import StopServing
from azmlinfsrv.service import Service
from azmlinfsrv.telemetry.board import WANTED
from azmlinfsrv.telemetry.metrics import WorkerMetrics
from azmlinfsrv.worker_state import WorkerState

logger = logging.getLogger("azmlinfsrv")


class ScoringWorker(Worker):  # type: ignore[misc]  # gunicorn has no types
    """Serves the script that the application has loaded.

    Attributes:
        slot: where it counts, or None.
    """

    def __init__(self, *args: Any) -> None:
        """Take a slot; gunicorn calls this before the fork."""
        super().__init__(*args)
        self.slot: int | None = self.app.slots.take()

    def init_signals(self) -> None:
        """Install the handlers; a stop must interrupt the wait for work, which gunicorn has restarted."""
        super().init_signals()
        signal.siginterrupt(signal.SIGTERM, True)

    def init_process(self) -> None:
        """Load and serve; then a second signal must not break into the end of the process."""
        if self.app.health is not None:
            self.app.health.leave_to_parent()
        self._state = WorkerState(self.app.slots.board, self.slot)
        self._state.begin(os.getpid(), time.monotonic())
        try:
            super().init_process()
        finally:
            for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGTERM):
                signal.signal(number, signal.SIG_IGN)

    def run(self) -> None:
        """Serve until a signal says to stop; called by gunicorn in the main thread."""
        loaded, settings = self.wsgi
        faulthandler.disable()
        faulthandler.enable(2)  # again: gunicorn took SIGABRT, which has it write where native code hangs
        hide_keys(os.environ)
        board = self.app.slots.board
        self._service = Service(
            loaded,
            settings,
            [listener.sock for listener in self.sockets],
            uvloop.new_event_loop,
            self._beat,
            self.PIPE[0],
            WorkerMetrics(board, self.slot) if settings.metrics_enabled else None,
            self._state,
        )
        self._service.encrypt(self.app.tls)
        if self.slot is not None and board.cells[WANTED] > 1:
            self._service.take_turns(Load(board, self.slot))
        self._service.replace_after(self.max_requests, self._replace)
        try:
            self._service.run()
        except StopServing:
            self.cfg.worker_int(self)

    def handle_exit(self, sig: int, frame: Any) -> None:
        """SIGTERM: finish what is here, then leave."""
        self.alive = False
        service = getattr(self, "_service", None)
        if service is None:
            raise StopServing
        service.stop()

    def handle_quit(self, sig: int, frame: Any) -> None:
        """SIGINT, SIGQUIT: leave at once."""
        self.alive = False
        raise StopServing

    def _replace(self) -> None:
        """Make way for a new worker: max_requests of gunicorn's have been answered; on the I/O thread."""
        self.alive = False
        self.log.info("Autorestarting worker after current request.")
        self._service.make_way()

    def _beat(self) -> None:
        """Tell the arbiter that this worker lives, and notice that the arbiter does not; on the I/O thread."""
        self.notify()
        if self.ppid != os.getppid():
            logger.info("Parent changed, shutting down: %s", self)
            self._service.stop()
