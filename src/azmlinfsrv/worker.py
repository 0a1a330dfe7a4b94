"""The gunicorn worker: one process with an I/O thread and the scoring loop."""

from __future__ import annotations

import contextlib
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
from azmlinfsrv.arbiter import STOPS
from azmlinfsrv.errors import StopServing
from azmlinfsrv.memory_limit import MemoryLimit
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
        self._has_beaten = False
        self._service: Service | None = None
        self._memory: MemoryLimit | None = None

    def init_signals(self) -> None:
        """Install the handlers; a stop must interrupt the wait for work, which gunicorn has restarted."""
        super().init_signals()
        signal.siginterrupt(signal.SIGTERM, True)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPS)

    def init_process(self) -> None:
        """Load and serve; then a second signal must not break into the end of the process."""
        if self.app.health is not None:
            self.app.health.leave_to_parent()
        self._state = WorkerState(self.app.slots.board, self.slot)
        self._state.begin(os.getpid(), time.monotonic())
        try:
            super().init_process()
        except StopServing:
            raise SystemExit(0) from None
        finally:
            for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGTERM):
                signal.signal(number, signal.SIG_IGN)

    def run(self) -> None:
        """Serve until a signal says to stop; called by gunicorn in the main thread."""
        if not self.alive:
            return  # the script has swallowed the stop that came while it was loaded
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
        if settings.max_worker_memory_bytes:
            self._memory = MemoryLimit(settings.max_worker_memory_bytes)
        self._service.replace_after(self.max_requests, self._wear_out)
        try:
            self._service.run()
        except StopServing:
            self.cfg.worker_int(self)

    def handle_exit(self, sig: int, frame: Any) -> None:
        """SIGTERM: finish what is here, then leave."""
        if self._service is None:
            self.handle_quit(sig, frame)
        else:
            self.alive = False
            self._service.stop()

    def handle_quit(self, sig: int, frame: Any) -> None:
        """SIGINT, SIGQUIT: leave at once; while the script is loaded, a second signal does not break into the end."""
        is_leaving = self._service is None and not self.alive
        self.alive = False
        if not is_leaving:
            raise StopServing

    def _wear_out(self, reason: str = "has answered as many requests as it may") -> None:
        """Ask for another worker to take this one's place, and serve on until it does; on the I/O thread."""
        logger.info("Worker with pid %d %s: another takes its place.", os.getpid(), reason)
        self._state.wear_out()
        self._wake_arbiter()

    def _wake_arbiter(self) -> None:
        """Have the arbiter look at its workers now, and not in a second."""
        if self.ppid == os.getppid():
            with contextlib.suppress(PermissionError):  # of another user than the arbiter, which looks every second
                os.kill(self.ppid, signal.SIGCHLD)

    def _beat(self) -> None:
        """Tell the arbiter that this worker lives, and notice that the arbiter does not; on the I/O thread."""
        self.notify()
        if not self._has_beaten:
            self._has_beaten = True
            self._wake_arbiter()  # which may wait for this one to be ready
        if self._memory is not None and self._memory.is_over(time.monotonic()):
            self._wear_out("needs more memory than it may")
        if self.ppid != os.getppid() and self._service is not None:
            logger.info("Parent changed, shutting down: %s", self)
            self._service.stop()
