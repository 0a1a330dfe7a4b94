"""gunicorn's arbiter, which starts and ends the workers as `crew` says: successors first, and not in tight loops."""

from __future__ import annotations

import contextlib
import logging
import os
import queue
import signal
import time
from typing import Any

from gunicorn import sock
from gunicorn.arbiter import Arbiter
from gunicorn.errors import HaltServer

from azmlinfsrv.crew import Crew
from azmlinfsrv.reaping import ended_children
from azmlinfsrv.worker_state import is_ready, is_worn, retire

logger = logging.getLogger("azmlinfsrv")

# What a worker needs beyond its graceful timeout to break off what still runs, and to let go what it has collected.
_LAST_S = 2.0
_QUICK_S = 2.0
_TICK_S = 0.1
# What ends a worker.
STOPS = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)


class ServerArbiter(Arbiter):  # type: ignore[misc]  # gunicorn has no types
    """Keeps the workers up; gunicorn's own waits, clocks and reload are replaced.

    A reload starts one new worker beside the old ones; each that is ready takes the place of an old one.
    """

    LISTENERS: list[Any]
    reexec_pid: int

    def __init__(self, app: Any) -> None:
        self._crew = Crew()
        self._was_complete = False
        self.reexec_pid = 0
        super().__init__(app)

    # -- gunicorn's hooks --------------------------------------------------------------------------------------

    def spawn_worker(self) -> int:
        """Start a worker, and return its process id.

        A signal that comes before it has its own handlers waits until then: the arbiter's would swallow it.

        Raises:
            OSError: there is no descriptor, process or memory for it.
        """
        before, arbiter = signal.pthread_sigmask(signal.SIG_BLOCK, STOPS), os.getpid()
        self.app.slots.newest = None
        try:
            pid: int = super().spawn_worker()
        except Exception:
            if os.getpid() != arbiter:
                os._exit(self.WORKER_BOOT_ERROR)  # a worker must never go on as an arbiter, and end its siblings
            if self.app.slots.newest is not None:
                self.app.slots.board.release(self.app.slots.newest)
            raise
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        self._crew.joined(pid, time.monotonic())
        return pid

    def manage_workers(self) -> None:
        """Start and end workers; gunicorn calls this at least once a second, and after each signal."""
        self.reap_workers()
        board = self.app.slots.board
        for pid, worker in self.WORKERS.items():
            if worker.slot is None:
                self._crew.seen(pid, ready=True, worn=False)  # there was no room: nothing is known of it
            else:
                self._crew.seen(pid, ready=is_ready(board, worker.slot, pid), worn=is_worn(board, worker.slot))
        orders = self._crew.next(time.monotonic(), self.num_workers)
        if self._crew.is_complete and not self._was_complete:
            self._was_complete = True
            if self.app.berth is not None:
                self.app.berth.tell_ready()
        for pid in orders.retire:
            self._retire(pid)
        for _ in range(orders.starts):
            try:
                self.spawn_worker()
            except OSError as error:
                self._crew.refused(time.monotonic())
                logger.error("A worker cannot be started, it is tried again: %s", error)  # noqa: TRY400 - says it all
                break

    def murder_workers(self) -> None:
        """End workers that time out, and see to what else is to be seen to about once a second."""
        super().murder_workers()
        self.app.look_after([listener.sock for listener in self.LISTENERS])

    def reload(self) -> None:
        """Have workers with the script as it is now take the places of those that serve, one after the other."""
        if self.cfg.preload_app:
            self._reload_preloaded()
            return
        before = self.app.cfg
        try:
            self.app.reload()
        except SystemExit:
            self.app.cfg = before
            logger.error("gunicorn's configuration cannot be used: nothing is reloaded.")  # noqa: TRY400 - it was printed
            return
        self.setup(self.app)
        self.log.reopen_files()
        self.cfg.on_reload(self)
        logger.info("Loading the script again: the workers serve on until others are ready.")
        self._crew.reload()

    def handle_chld(self, *_: Any) -> None:
        """See who has ended: soon, since gunicorn before 24 calls this within a signal handler; at once in a stop."""
        if self.LISTENERS:
            self.wakeup()
        else:
            self.reap_workers()

    handle_cld = handle_chld

    def kill_worker(self, pid: int, sig: int) -> None:
        """Signal a worker; one that is gone already gives its slot back, which gunicorn forgets."""
        worker = self.WORKERS.get(pid)
        super().kill_worker(pid, sig)
        if worker is not None and pid not in self.WORKERS:
            self._crew.left(pid, time.monotonic(), failed=False)
            self.cfg.child_exit(self, worker)

    def reap_workers(self) -> None:
        """Collect the processes that have ended.

        Raises:
            HaltServer: a worker could not load the script at the first start, or when no other serves.
        """
        for pid, code in ended_children():
            if pid == self.reexec_pid:
                self.reexec_pid = 0
            worker = self.WORKERS.pop(pid, None)
            if worker is not None:
                self._ended(pid, worker, code)

    def stop(self, graceful: bool = True) -> None:
        """End the workers, at the latest a little after the graceful timeout, whatever happens to the clock."""
        unlink = self.reexec_pid == self.master_pid == 0 and not self.systemd and not self.cfg.reuse_port
        sock.close_sockets(self.LISTENERS, unlink)
        self.LISTENERS = []
        self.kill_workers(signal.SIGTERM if graceful else signal.SIGQUIT)
        limit = time.monotonic() + self.cfg.graceful_timeout + _LAST_S
        while self.WORKERS and time.monotonic() < limit:
            if graceful and self._next_signal() in (signal.SIGINT, signal.SIGQUIT):
                graceful = False
                self.kill_workers(signal.SIGQUIT)
                limit = time.monotonic() + _QUICK_S
            self.reap_workers()
            time.sleep(_TICK_S)
        self.kill_workers(signal.SIGKILL)
        self.reap_workers()

    # -- what is ours ------------------------------------------------------------------------------------------

    def _reload_preloaded(self) -> None:
        """Leave it to the process above, which has not loaded the script."""
        if self.app.berth is not None:
            os.kill(os.getppid(), signal.SIGHUP)
        else:
            logger.warning(
                "The script is not loaded again: with WORKER_PRELOAD and sockets that were handed down "
                "it takes a restart."
            )

    def _next_signal(self) -> int | None:
        """Return the next signal that waits: in a queue, or in the list of older releases."""
        waiting = self.SIG_QUEUE
        with contextlib.suppress(queue.Empty, IndexError):
            number: int = waiting.pop(0) if isinstance(waiting, list) else waiting.get_nowait()
            return number
        return None

    def _retire(self, pid: int) -> None:
        """Have a worker end as one whose place another has taken."""
        worker = self.WORKERS.get(pid)
        if worker is None:
            return
        if worker.slot is not None:
            board = self.app.slots.board
            retire(board, worker.slot)
            if is_worn(board, worker.slot):
                self.app.slots.count_restart()
        self.kill_worker(pid, signal.SIGTERM)

    def _ended(self, pid: int, worker: Any, code: int) -> None:
        """See to a worker that has ended."""
        worker.tmp.close()
        self.cfg.child_exit(self, worker)
        self._log_end(pid, code)
        ended = self._crew.left(pid, time.monotonic(), failed=code != 0)
        if not self.LISTENERS:
            return  # the stop
        is_up = self._crew.is_complete and self._crew.serving
        if code in (self.WORKER_BOOT_ERROR, self.APP_LOAD_ERROR) and not is_up:
            reason = "Worker failed to boot." if code == self.WORKER_BOOT_ERROR else "App failed to load."
            raise HaltServer(reason, code)
        self.app.slots.board.fail("")  # it was not the server's start that failed
        if ended.ends_reload:
            logger.error(
                "The new worker ended before it was ready: the reload is given up; workers that serve on: %d.",
                self._crew.serving,
            )
        elif ended.is_lost:
            self.app.slots.count_restart()
        if ended.delay_s:
            logger.warning(
                "Workers have died %d times in a row soon after their start: the next is started in %.1f s.",
                ended.crashes,
                ended.delay_s,
            )

    def _log_end(self, pid: int, code: int) -> None:
        """Say how a worker has ended, in gunicorn's words."""
        if code > 0:
            self.log.error("Worker (pid:%s) exited with code %s.", pid, code)
        elif code < 0:
            number = -code
            name = signal.Signals(number).name if number in set(signal.Signals) else f"signal {number}"
            hint = " Perhaps out of memory?" if number == signal.SIGKILL else ""
            level = logging.INFO if number == signal.SIGTERM else logging.ERROR
            self.log.log(level, "Worker (pid:%s) was sent %s!%s", pid, name, hint)
