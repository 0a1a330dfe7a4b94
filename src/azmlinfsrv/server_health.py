"""What the health port says of the whole server, from what its workers say on the memory that all share."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, NamedTuple

from azmlinfsrv import codec
from azmlinfsrv.messages import HTML, Request, Response
from azmlinfsrv.outputs import json_response
from azmlinfsrv.routes import GET, Route
from azmlinfsrv.telemetry.board import Board
from azmlinfsrv.telemetry.prometheus import respond
from azmlinfsrv.telemetry.readings import read
from azmlinfsrv.worker_state import REASONS, STARTING, STUCK, Seen, seen_workers

FAILED, SILENT = "failed", "silent"
# A worker that has given no sign of life for so long takes no requests: native code holds its interpreter lock.
SILENT_S = 5.0


class Verdict(NamedTuple):
    """How the server is.

    Attributes:
        live: whether it is worth keeping.
        loaded: whether a worker has loaded the script and is not stuck.
        reason: why it takes no requests, or "" where it does.
        workers: what is seen of each worker.
    """

    live: bool
    loaded: bool
    reason: str
    workers: list[dict[str, Any]]


def judge(board: Board, now: float, stuck_s: float) -> Verdict:
    """Return how the server is.

    Args:
        board: where its workers say how they are.
        now: `time.monotonic`.
        stuck_s: how long a worker may be silent before it counts as stuck.
    """
    reasons = {worker: _reason(worker, stuck_s) for worker in seen_workers(board, now)}
    workers = [
        {"worker": worker.number, "pid": worker.pid, "reason": reason, "silent_s": round(worker.silent_s, 2)}
        for worker, reason in reasons.items()
    ]
    found = list(reasons.values()) or [STARTING]
    # The server can do what the best of its workers can.
    best = min(found, key=_GRAVITY.index)
    loaded = any(reason not in (STARTING, STUCK) for reason in found)
    if board.failure and not loaded:
        return Verdict(live=False, loaded=False, reason=FAILED, workers=[])
    return Verdict(live=best != STUCK, loaded=loaded, reason=best, workers=workers)


_GRAVITY = ("", REASONS[0], SILENT, *REASONS[1:])


def _reason(worker: Seen, stuck_s: float) -> str:
    """Return why a worker takes no requests, or ""; one that starts has no thread yet that gives signs of life."""
    if STARTING in worker.reasons:
        return STARTING
    if worker.silent_s > stuck_s:
        return STUCK
    told = worker.reasons[-1] if worker.reasons else ""
    if worker.silent_s > SILENT_S:
        return max(told, SILENT, key=_GRAVITY.index)
    return told


class ServerHealth:
    """The handlers of the health port.

    Args:
        board: where the workers say how they are.
        stuck_s: see `judge`.
        clock: the time of the workers' signs of life.
    """

    def __init__(self, board: Board, stuck_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._board = board
        self._stuck_s = stuck_s
        self._clock = clock

    def routes(self, *, metrics: bool) -> dict[str, Route]:
        """Return the routes by path.

        Args:
            metrics: whether ``/metrics`` is one.
        """
        table = {"/": Route(self.root, GET), "/live": Route(self.live, GET), "/ready": Route(self.ready, GET)}
        if metrics:
            table["/metrics"] = Route(self.metrics, GET)
        return table

    def root(self, _: Request) -> Response:
        """``/``: the documented health check, once the script is loaded."""
        verdict = self._verdict()
        if verdict.loaded:
            return Response(200, b"Healthy", [("Content-Type", HTML)])
        return self._failure("not healthy", verdict)

    def live(self, _: Request) -> Response:
        """``/live``: whether the server starts, serves or stops, and is not stuck."""
        verdict = self._verdict()
        return _good("live") if verdict.live else self._failure("not live", verdict)

    def ready(self, _: Request) -> Response:
        """``/ready``: whether a worker takes requests."""
        verdict = self._verdict()
        return _good("ready") if not verdict.reason else self._failure("not ready", verdict)

    def metrics(self, request: Request) -> Response:
        """``/metrics``: what all workers have counted."""
        return respond(request, read(self._board))

    def _verdict(self) -> Verdict:
        return judge(self._board, self._clock(), self._stuck_s)

    def _failure(self, status: str, verdict: Verdict) -> Response:
        content: dict[str, Any] = {"status": status, "reason": verdict.reason}
        if verdict.workers:
            content["workers"] = verdict.workers
        if verdict.reason == FAILED:
            content["cause"] = self._board.failure
        return json_response(503, codec.dumps(content))


def _good(status: str) -> Response:
    return json_response(200, codec.dumps({"status": status}))
