"""The telemetry of one worker, from its start to its end, and under an ASGI server."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, cast

import httpx
import pytest

from azmlinfsrv.app import create_app
from azmlinfsrv.asgi import ScoringApp
from azmlinfsrv.inputs import input_parser
from azmlinfsrv.runner import Runner
from azmlinfsrv.schema import Swagger
from azmlinfsrv.scorer import Scorer
from azmlinfsrv.script import Script
from azmlinfsrv.settings import Settings
from azmlinfsrv.telemetry.board import Board
from azmlinfsrv.telemetry.life import TRACES_S, WorkerTelemetry
from azmlinfsrv.telemetry.metrics import WorkerMetrics
from azmlinfsrv.telemetry.prometheus import exposition
from azmlinfsrv.telemetry.readings import read
from tests.scraping import Scraped
from tests.unit.http_fakes import RecordedLog, load_module

if TYPE_CHECKING:
    from collections.abc import Callable

    from azmlinfsrv.telemetry.model_data import ModelData
    from azmlinfsrv.telemetry.observer import Observer

pytestmark = pytest.mark.anyio


class FakeModelData:
    """Collects nothing, and says what it was told."""

    def __init__(self) -> None:
        self.dropped = 0
        self.told: list[object] = []

    def start(self) -> None:
        """See `ModelData.start`."""
        self.told.append("start")

    def stop(self, within_s: float) -> None:
        """See `ModelData.stop`."""
        self.told.append(within_s)
        self.dropped += 3


class FakeObserver(FakeModelData):
    """Observes nothing, and says what it was told."""

    def close(self, within_s: float) -> None:
        """See `Observer.close`."""
        self.told.append(within_s)

    def count_drops(self, count: Callable[[str, int], None]) -> None:
        """See `Observer.count_drops`."""
        count("appinsights", 2)


class Worker:
    """A worker's telemetry, with nothing behind it."""

    def __init__(self) -> None:
        board = Board(1, 1)
        self._metrics = WorkerMetrics(board, board.take())
        self._metrics.serve(["/score"], 1, 0.0)
        self.model_data, self.observer = FakeModelData(), FakeObserver()
        self.telemetry = WorkerTelemetry(
            self._metrics, cast("Observer", self.observer), cast("ModelData", self.model_data)
        )

    def dropped(self, sink: str) -> float:
        """Return how many records of a sink the metrics say were dropped."""
        scraped = Scraped(exposition(read(self._metrics.board)))
        return scraped.total("telemetry_dropped_total", sink=sink)


def test_drops_are_counted_once() -> None:
    """What telemetry has lost reaches the metrics at the next tick or at the end, and is not counted again."""
    worker = Worker()
    worker.telemetry.start()
    worker.model_data.dropped = 4
    worker.telemetry.tick()
    assert (worker.dropped("modeldata"), worker.dropped("appinsights")) == (4, 2)
    worker.telemetry.tick()
    assert worker.dropped("modeldata") == 4
    worker.telemetry.stop(60)
    assert worker.dropped("modeldata") == 7


def test_traces_do_not_hold_a_stop_for_long() -> None:
    """Model data gets all the time that a stop has; traces get a few seconds of it."""
    worker = Worker()
    worker.telemetry.start()
    worker.telemetry.stop(60)
    assert worker.model_data.told == ["start", 60]
    assert worker.observer.told == ["start", TRACES_S]


async def test_an_asgi_server_starts_and_stops_it() -> None:
    """Under an ASGI server telemetry starts with the first request, and is let go with the application."""
    worker = Worker()
    script = Script(load_module("core_plain"))
    runner = Runner(Scorer(script, input_parser(script, lambda _: None), None), 60_000, 8_000)
    app = create_app(Swagger(Settings(), script.run), runner.submit, None, "", RecordedLog())
    served = ScoringApp(app, runner, 1000, worker.telemetry)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(served), base_url="http://a") as client:
        assert worker.model_data.told == []
        assert (await client.get("/")).status_code == 200
        assert worker.model_data.told == ["start"]
        await asyncio.to_thread(served.stop)
    assert len(worker.model_data.told) == 2
    assert worker.dropped("modeldata") == 3
