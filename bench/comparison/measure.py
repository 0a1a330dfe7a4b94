"""The order of a comparison: who is up, who takes a turn, and what is noted."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator
from typing import NamedTuple

from comparison.catalogue import BENCH, System
from comparison.servers import Server, StartError, serving
from comparison.store import Sample, Store
from comparison.works import Work
from comparison.wrk import load

START = "start"
WARM_CONNECTIONS = 16


class Pace(NamedTuple):
    """How long a comparison takes.

    Attributes:
        rounds: how often each load is repeated.
        seconds: length of a load.
        connections: the loads to keep, or all of them.
    """

    rounds: int
    seconds: int
    connections: tuple[int, ...] | None = None


@contextlib.contextmanager
def all_up(work: Work, systems: list[System], store: Store) -> Iterator[list[Server]]:
    """Have all systems serve that do some work, warmed; those that cannot are noted."""
    with contextlib.ExitStack() as stack:
        servers = []
        for system in systems:
            if not system.does(work.setup) or is_program(system):
                continue
            setup = system.setup(work.setup)
            body = work.body(setup.table["form"], setup.table.get("expect"))
            own = contextlib.ExitStack()
            try:
                server = own.enter_context(serving(setup, body))
                server.check()
            except (StartError, OSError) as error:
                own.close()
                store.fail(work.name, system.name, str(error))
                continue
            stack.enter_context(own)
            store.succeed(work.name, system.name)
            load(server, WARM_CONNECTIONS, 1)
            servers.append(server)
        yield servers


def closed_loop(work: Work, systems: list[System], pace: Pace, store: Store) -> None:
    """Have the systems take turns at a work, with each number of connections."""
    with all_up(work, systems, store) as servers:
        for number in range(pace.rounds):
            turn = store.next_turn()
            for connections in work.connections:
                if pace.connections and connections not in pace.connections:
                    continue
                for server in rotated(servers, number):
                    found = load(server, connections, pace.seconds)
                    figures = found._asdict() | {"memory_mb": server.tree.memory_mb(), "seconds": pace.seconds}
                    store.add(Sample(work.name, str(connections), server.name, turn, figures))
            for system in systems:
                if is_program(system) and system.does(work.setup):
                    figures = {"requests_per_s": calls_per_s(system, work, pace.seconds), "seconds": pace.seconds}
                    store.add(Sample(work.name, "none", system.name, turn, figures))
    store.save()


def starts(work: Work, systems: list[System], rounds: int, store: Store) -> None:
    """Note how long each system takes from its command to an answer, and its memory then."""
    for number in range(rounds):
        turn = store.next_turn()
        for system in rotated(systems, number):
            if is_program(system) or system.name in store.failures.get(work.name, {}):
                continue
            setup = system.setup(work.setup)
            try:
                with serving(setup, work.body(setup.table["form"], setup.table.get("expect"))) as server:
                    server.check()
                    figures = {"start_ms": server.start_s * 1e3, "memory_mb": server.tree.memory_mb()}
                    store.add(Sample(START, "", system.name, turn, figures))
            except (StartError, OSError) as error:
                store.fail(START, system.name, str(error))
    store.save()


def is_program(system: System) -> bool:
    """Return whether it is no server, but prints how often it calls the function in a second."""
    return bool(system.table.get("program"))


def calls_per_s(system: System, work: Work, seconds: int) -> float:
    """Return what a program counts."""
    names = {"python": str(system.python), "work": work.setup, "seconds": str(seconds)}
    command = [part.format_map(names) for part in system.table["command"]]
    done = subprocess.run(command, cwd=BENCH / "systems" / system.name, check=True, capture_output=True, text=True)
    return float(done.stdout)


def rotated(items: list[Server] | list[System], number: int) -> list:  # type: ignore[type-arg]
    """Return them with another one first in each round."""
    begin = number % len(items) if items else 0
    return [*items[begin:], *items[:begin]]
