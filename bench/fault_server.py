"""A server that something happens to, and what is left of what it answered."""

from __future__ import annotations

import contextlib
import json
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from fault_clients import Clients

from bench import HERE, Running, System, free_port, serving

# Longer than a worker stays that another has replaced.
WATCHED_S = 6.0
TRIVIAL = HERE / "trivial.py"
_PAUSE_S = 0.001


class Skipped(Exception):  # noqa: N818 - no error
    """Something is missing that a fault needs."""


class Outcome(NamedTuple):
    """What came of a fault.

    Attributes:
        seen: what clients saw, by kind.
        away_s: the longest time without an answer of 200.
        lost: what was lost, or "".
    """

    seen: Counter[str]
    away_s: float
    lost: str = ""


class Subject(NamedTuple):
    """A server under load.

    Attributes:
        running: the server.
        clients: those who post.
        folder: for whatever is needed.
        is_fronted: whether nginx is in front.
    """

    running: Running
    clients: Clients
    folder: Path
    is_fronted: bool


def settle(seconds: float) -> None:
    """Let clients post for so long."""
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        time.sleep(0.1)


@contextlib.contextmanager
def subject(
    arguments: Sequence[str] = (),
    env: Mapping[str, str] | None = None,
    *,
    nginx: bool = False,
    first: str = "",
    script: Path = TRIVIAL,
    pause_s: float = 0.0,
    patience_s: float = 20.0,
) -> Iterator[Subject]:
    """Have a server and clients that post; both end with the context.

    Args:
        arguments: for its command line.
        env: variables.
        nginx: whether nginx is in front.
        first: what a shell does before it becomes the server; `{folder}` is a new folder.
        script: what is served.
        pause_s: see `Clients`.
        patience_s: see `Clients`.
    """
    with tempfile.TemporaryDirectory() as name:
        assigned = [f"{key}={value}".replace("{folder}", name) for key, value in (env or {}).items()]
        command = ["env", *assigned]
        if first:
            command += ["sh", "-c", first.replace("{folder}", name), "sh"]
        command += [sys.executable, "-m", "azmlinfsrv", *arguments]
        command += ["--nginx", "--server_address", f"127.0.0.1:{free_port()}"] if nginx else []
        with serving(System("the server", command), script) as running:
            clients = Clients(running.port, pause_s, patience_s)
            with clients.busy():
                clients.wait_for(200)
                clients.begin()
                yield Subject(running, clients, Path(name), nginx)


@contextlib.contextmanager
def collected(
    *arguments: str, env: Mapping[str, str] | None = None, **rest: object
) -> Iterator[tuple[Subject, list[Outcome]]]:
    """Have a server that collects model data, and compare at its end what is there with what was answered."""
    outcomes: list[Outcome] = []
    with tempfile.TemporaryDirectory() as folder:
        variables = {"AML_MODEL_DC_STORAGE_ENABLED": "true", "AZMLINFSRV_MODEL_DATA_FOLDER": folder, **(env or {})}
        with subject(arguments, variables, pause_s=_PAUSE_S, **rest) as it:  # type: ignore[arg-type]  # passed on
            yield it, outcomes
            clients = it.clients
        outcomes.append(Outcome(clients.seen, clients.away_s, missing_from(Path(folder), clients)))


def missing_from(folder: Path, clients: Clients) -> str:
    """Say which of the requests that were answered with 200 the files of a folder do not tell of, or tell of twice."""
    told: Counter[str] = Counter()
    for path in folder.glob("*.jsonl"):
        told.update(json.loads(line)["request_id"] for line in path.read_bytes().splitlines())
    missing = len(clients.answered - set(told))
    twice = sum(count > 1 for count in told.values())
    found = [f"{missing} records of model data"] if missing else []
    return ", ".join(found + ([f"{twice} records are there twice"] if twice else []))
