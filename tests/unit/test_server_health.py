"""What the health port says, from what the workers say on the memory that all share."""

from __future__ import annotations

import json
from typing import Any

import pytest

from azmlinfsrv.health_process import make_health_app
from azmlinfsrv.logs import LineClock
from azmlinfsrv.messages import Response
from azmlinfsrv.server_health import SILENT_S, ServerHealth, Verdict, judge
from azmlinfsrv.settings import Settings
from azmlinfsrv.telemetry.board import Board
from azmlinfsrv.telemetry.metrics import WorkerMetrics
from azmlinfsrv.worker_state import REASONS, WorkerState, seen_workers
from tests.unit.http_fakes import FakeClock, RecordedReply, headers_of, request

STUCK_S = 60.0


class Workers:
    """Workers and the memory that they share.

    Attributes:
        board: the memory.
        clock: the time.
        states: the workers' states.
    """

    def __init__(self, count: int) -> None:
        self.board = Board(4, count)
        self.clock = FakeClock()
        self.slots = [self.board.take() for _ in range(count)]
        self.states = [WorkerState(self.board, slot) for slot in self.slots]
        for number, state in enumerate(self.states):
            state.begin(100 + number, self.clock())

    def tell(self, *reasons: str | tuple[str, ...] | None) -> Workers:
        """Have the workers say why they take no requests, one after the other; None: they do."""
        for state, reason in zip(self.states, reasons, strict=True):
            state.tell(() if reason is None else (reason,) if isinstance(reason, str) else reason)
        return self

    def verdict(self) -> Verdict:
        """Return how the server is."""
        return judge(self.board, self.clock(), STUCK_S)

    def ask(self, target: str, method: str = "GET", **settings: Any) -> Response:
        """Return the health port's answer."""
        health = ServerHealth(self.board, STUCK_S, self.clock)
        app = make_health_app(Settings(**settings), self.board, LineClock())
        app._routes.update(health.routes(metrics=False))  # with the test's clock
        reply = RecordedReply()
        app.handle(request(method, target), reply)
        return reply.response


def told(response: Response) -> tuple[int, Any]:
    """Return status and content of an answer in JSON."""
    assert headers_of(response)["content-type"] == "application/json"
    return response.status, json.loads(response.body)


# -- States on the board ---------------------------------------------------------------------------------------------


def test_a_worker_is_seen() -> None:
    """Process, silence and reasons of a worker are read as it said them, the gravest reason last."""
    workers = Workers(2).tell(None, ("stuck", "overloaded"))
    workers.clock.now += 3
    workers.states[1].beat(workers.clock())
    assert list(seen_workers(workers.board, workers.clock())) == [
        (0, 100, 3.0, ()),
        (1, 101, 0.0, ("overloaded", "stuck")),
    ]
    assert set(REASONS) == {"overloaded", "starting", "stopping", "stuck"}


def test_a_worker_that_ended_is_not_seen() -> None:
    """Nothing is seen of a worker whose slot was given back, nor in a slot before its worker begins."""
    workers = Workers(2).tell(None, None)
    assert workers.slots[0] is not None
    workers.board.release(workers.slots[0])
    assert [seen.pid for seen in seen_workers(workers.board, workers.clock())] == [101]
    workers.board.take()
    assert [seen.pid for seen in seen_workers(workers.board, workers.clock())] == [101]


def test_a_worker_without_a_slot() -> None:
    """A worker for which there is no room says what it says to nobody."""
    board = Board(1, 1)
    state = WorkerState(board, None)
    state.begin(1, 0.0)
    state.tell(("stopping",))
    assert list(seen_workers(board, 0.0)) == []


@pytest.mark.parametrize("text", ["", "KeyError: 'weights'", "ä" * 10, "x" * 8193])
def test_the_cause_of_a_failure(text: str) -> None:
    """What the board keeps of a failed start is its text; of one that is too long, the end."""
    board = Board(1, 1)
    assert board.failure == ""
    board.fail(text)
    assert board.failure == text[-8192:]


# -- Verdicts --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("first", "second", "live", "loaded", "reason"),
    [
        (None, None, True, True, ""),
        (None, "stuck", True, True, ""),
        ("starting", None, True, True, ""),
        ("starting", "starting", True, False, "starting"),
        ("overloaded", "starting", True, True, "overloaded"),
        ("overloaded", "overloaded", True, True, "overloaded"),
        ("stopping", "stopping", True, True, "stopping"),
        ("starting", "stopping", True, True, "starting"),
        ("stuck", "starting", True, False, "starting"),
        ("stuck", "stopping", True, True, "stopping"),
        ("stuck", "stuck", False, False, "stuck"),
        (("overloaded", "stuck"), ("stopping", "stuck"), False, False, "stuck"),
    ],
)
def test_the_best_worker_decides(first: Any, second: Any, live: bool, loaded: bool, reason: str) -> None:
    """The server can do what the best of its workers can."""
    verdict = Workers(2).tell(first, second).verdict()
    assert (verdict.live, verdict.loaded, verdict.reason) == (live, loaded, reason)


def test_no_worker_yet() -> None:
    """Before there is a worker, and while one is being replaced, the server is starting."""
    assert Workers(0).verdict() == Verdict(live=True, loaded=False, reason="starting", workers=[])


def test_a_silent_worker() -> None:
    """A worker that gives no sign of life takes no requests after a while, and is stuck once it may not be silent."""
    workers = Workers(1).tell(None)
    workers.clock.now += SILENT_S
    assert workers.verdict().reason == ""
    workers.clock.now += 0.1
    assert workers.verdict()[:3] == (True, True, "silent")
    workers.tell("stopping")
    assert workers.verdict().reason == "stopping"
    workers.clock.now += STUCK_S
    assert workers.verdict()[:3] == (False, False, "stuck")


def test_a_worker_that_starts_may_be_silent() -> None:
    """`init()` may take any time: its worker has no thread yet that could give signs of life."""
    workers = Workers(1)
    workers.clock.now += 100 * STUCK_S
    assert workers.verdict()[:3] == (True, False, "starting")


@pytest.mark.parametrize("other", ["starting", "stuck"])
def test_a_failed_start_is_final(other: str) -> None:
    """Once the script could not be loaded, the server is not live."""
    workers = Workers(2).tell("starting", other)
    workers.board.fail("KeyError: 'weights'")
    assert workers.verdict()[:3] == (False, False, "failed")


def test_a_failed_reload_does_not_concern_those_that_serve() -> None:
    """While a worker serves, it does not matter that another could not load the script."""
    workers = Workers(2).tell(None, "starting")
    workers.board.fail("KeyError: 'weights'")
    assert workers.verdict()[:3] == (True, True, "")
    workers.board.fail("")
    assert workers.tell("starting", "starting").verdict()[:3] == (True, False, "starting")


# -- Answers ---------------------------------------------------------------------------------------------------------


def test_while_the_server_starts() -> None:
    """`/live` is 200, `/ready` and `/` are 503 with the reason, and each worker is told of."""
    workers = Workers(1)
    seen = [{"worker": 0, "pid": 100, "reason": "starting", "silent_s": 0.0}]
    assert told(workers.ask("/live")) == (200, {"status": "live"})
    assert told(workers.ask("/ready")) == (503, {"status": "not ready", "reason": "starting", "workers": seen})
    assert told(workers.ask("/")) == (503, {"status": "not healthy", "reason": "starting", "workers": seen})


def test_while_the_server_serves() -> None:
    """`/` is the documented answer, and the probes are content."""
    workers = Workers(1).tell(None)
    root = workers.ask("/")
    assert (root.status, root.body, headers_of(root)["content-type"]) == (200, b"Healthy", "text/html; charset=utf-8")
    assert told(workers.ask("/live")) == (200, {"status": "live"})
    assert told(workers.ask("/ready")) == (200, {"status": "ready"})
    assert workers.ask("/ready", "HEAD").status == 200


@pytest.mark.parametrize("reason", ["overloaded", "stopping"])
def test_while_the_server_takes_no_requests(reason: str) -> None:
    """`/ready` is 503 with the reason; `/` and `/live` do not change, so that nobody kills the server for it."""
    workers = Workers(1).tell(reason)
    status, content = told(workers.ask("/ready"))
    assert (status, content["reason"]) == (503, reason)
    assert workers.ask("/").body == b"Healthy"
    assert workers.ask("/live").status == 200


def test_while_the_server_is_stuck() -> None:
    """All three are 503, and say so."""
    workers = Workers(1).tell("stuck")
    for target, status in (("/", "not healthy"), ("/live", "not live"), ("/ready", "not ready")):
        code, content = told(workers.ask(target))
        assert (code, content["status"], content["reason"]) == (503, status, "stuck")


def test_after_a_failed_start() -> None:
    """The cause is told, wherever one asks."""
    workers = Workers(1)
    workers.board.fail("KeyError: 'weights'")
    for target in ("/", "/live", "/ready"):
        code, content = told(workers.ask(target))
        assert (code, content["reason"], content["cause"]) == (503, "failed", "KeyError: 'weights'")


def test_what_else_the_health_port_has() -> None:
    """It has the metrics, unless they are turned off; it has nothing to score, and its answers have the usual ids."""
    workers = Workers(1).tell(None)
    WorkerMetrics(workers.board, 0).serve((), 1, 2.5)
    metrics = workers.ask("/metrics")
    assert metrics.status == 200
    assert b'azmlinfsrv_run_slots{worker="0"} 1' in metrics.body
    assert workers.ask("/metrics", metrics_enabled=False).status == 404
    assert workers.ask("/metrics", api_key="secret").status == 401
    assert workers.ask("/metrics", api_key="secret", api_key_for_metrics=False).status == 200
    assert workers.ask("/live", api_key="secret").status == 200
    missing = workers.ask("/score", "POST")
    assert missing.status == 404
    assert headers_of(missing)["x-request-id"]
    assert headers_of(missing)["x-ms-server-version"].startswith("azmlinfsrv/")
    assert "x-ms-server-version" not in headers_of(workers.ask("/", send_server_version=False))
    assert workers.ask("/ready", "POST").status == 405
