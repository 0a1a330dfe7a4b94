"""What gunicorn's arbiter does differently, as far as it needs no workers."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from gunicorn.arbiter import Arbiter

from azmlinfsrv.arbiter import ServerArbiter
from azmlinfsrv.crew import Crew
from azmlinfsrv.slots import Slots
from azmlinfsrv.worker_state import WorkerState, is_ready, is_worn, retire

if TYPE_CHECKING:
    import pytest


def arbiter_of(slots: Slots, worker: Any, pid: int) -> ServerArbiter:
    """Return an arbiter with one worker, without its start."""
    arbiter = ServerArbiter.__new__(ServerArbiter)
    arbiter._crew = Crew()
    arbiter._crew.joined(pid, 0.0)
    arbiter._stats = {"workers_killed": 0}
    arbiter.WORKERS = {pid: worker}
    config: Any = SimpleNamespace(child_exit=print, nworkers_changed=print, worker_exit=lambda *_: None)
    config.set = lambda name, value: setattr(config, name, value)
    config.child_exit = lambda *_: None
    slots.watch(config)
    arbiter.cfg = config
    return arbiter


def test_a_worker_that_is_gone_gives_its_slot_back() -> None:
    """A worker that somebody else has collected is forgotten when it is signalled, and its slot is free again."""
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    slots = Slots(1)
    worker = SimpleNamespace(slot=slots.take(), tmp=SimpleNamespace(close=lambda: None))
    arbiter = arbiter_of(slots, worker, gone.pid)
    arbiter.kill_worker(gone.pid, signal.SIGTERM)
    assert arbiter.WORKERS == {}
    assert slots.take() == worker.slot


def test_a_worker_that_cannot_be_started(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """Where no process can be made, the arbiter lives on with the workers that it has, and their slots."""
    slots = Slots(2)
    worker = SimpleNamespace(slot=slots.take())
    arbiter = arbiter_of(slots, worker, os.getpid())
    arbiter.app = SimpleNamespace(slots=slots, berth=None)
    arbiter._was_complete, arbiter._num_workers = False, 2
    monkeypatch.setattr(arbiter, "reap_workers", lambda: None)
    tries = []

    def refuse(_: object) -> int:
        """Take a slot, as a worker does before the fork, and fail."""
        tries.append(slots.take())
        raise BlockingIOError("Resource temporarily unavailable")

    monkeypatch.setattr(Arbiter, "spawn_worker", refuse)
    arbiter.manage_workers()
    arbiter.manage_workers()
    assert tries == [1] and slots.take() == 1
    assert "A worker cannot be started, it is tried again: Resource temporarily unavailable" in caplog.text
    assert list(arbiter.WORKERS) == [os.getpid()]


def test_what_workers_and_arbiter_tell_each_other() -> None:
    """A worker is ready once it says so itself; it asks for a successor, and is told when it has one."""
    slots = Slots(1)
    slot = slots.take()
    assert slot is not None
    state = WorkerState(slots.board, slot)
    assert not is_ready(slots.board, slot, 7)
    state.begin(7, 0.0)
    assert not is_ready(slots.board, slot, 7)
    state.tell(())
    assert is_ready(slots.board, slot, 7) and not is_ready(slots.board, slot, 8)
    state.wear_out()
    assert (is_worn(slots.board, slot), state.is_retired) == (True, False)
    retire(slots.board, slot)
    assert (is_worn(slots.board, slot), state.is_retired) == (True, True)
    slots.board.release(slot)
    assert (is_ready(slots.board, slot, 7), is_worn(slots.board, slot), state.is_retired) == (False, False, False)


def test_the_slots_of_two_servers() -> None:
    """Two servers on one board that forks both take different slots, and one can clear what the other left."""
    board = Slots(1).board
    board.keep(range(1, board.size, 2))
    assert [board.take(), board.take()] == [1, 3]
    state = WorkerState(board, 3)
    state.begin(7, 0.0)
    state.tell(())
    board.clear(3)
    assert not is_ready(board, 3, 7)
    assert board.take() == 5
