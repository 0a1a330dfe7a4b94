"""Where the server counts: the application, the connection and the runner, in memory."""

from __future__ import annotations

import json

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
from azmlinfsrv.telemetry.metrics import WorkerMetrics
from azmlinfsrv.telemetry.prometheus import exposition
from azmlinfsrv.telemetry.readings import read
from tests.scraping import Scraped
from tests.unit.http_fakes import FakeConnection, RecordedLog, load_module

pytestmark = pytest.mark.anyio

POST = b"POST /score HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n{}"


class Measured:
    """A connection whose requests are counted.

    Attributes:
        connection: the connection.
    """

    def __init__(self) -> None:
        self.connection = FakeConnection()
        board = Board(1, 1)
        self._metrics = WorkerMetrics(board, board.take())
        script = self.connection.script
        app = create_app(
            Swagger(Settings(), lambda data: data), script.submit, None, "", RecordedLog(), None, self._metrics
        )
        self._metrics.serve(app.paths, 1, 0.0)
        self.connection.shared.app = app

    def scraped(self) -> Scraped:
        """Return what has been counted."""
        return Scraped(exposition(read(self._metrics.board)))


@pytest.fixture
def measured() -> Measured:
    """A connection whose requests are counted."""
    return Measured()


def test_pipelined_requests(measured: Measured) -> None:
    """A request is counted when its answer is sent, also where others wait behind it on its connection."""
    measured.connection.receive(POST * 3)
    for number in range(3):
        assert sum(measured.scraped().requests().values()) == number
        measured.connection.script.answer()
    assert measured.scraped().requests() == {("/score", "POST", "200"): 3}


@pytest.mark.parametrize("how", ["half_close", "lose", "both"])
def test_a_client_that_leaves(measured: Measured, how: str) -> None:
    """However a client ends its connection before the answer, it is counted once, and so is its request."""
    measured.connection.receive(POST)
    if how != "lose":
        measured.connection.half_close()
    if how != "half_close":
        measured.connection.lose()
    assert measured.scraped().values("requests_disconnected_total") == [1]
    measured.connection.script.answer()
    scraped = measured.scraped()
    assert scraped.values("requests_disconnected_total") == [1]
    assert sum(scraped.requests().values()) == 1


def test_a_client_that_leaves_between_requests(measured: Measured) -> None:
    """A client that has its answers and closes is nobody's loss."""
    measured.connection.receive(POST)
    measured.connection.script.answer()
    measured.connection.half_close()
    measured.connection.lose()
    assert measured.scraped().values("requests_disconnected_total") == [0]


def test_bytes_that_are_no_request(measured: Measured) -> None:
    """They are answered, so they are counted, under no route, and as refused."""
    measured.connection.receive(b"GET\r\n\r\n")
    scraped = measured.scraped()
    assert scraped.requests() == {("other", "other", "400"): 1}
    assert scraped.values("requests_rejected_total", reason="invalid") == [1]


def test_a_scrape_counts_the_one_before(measured: Measured) -> None:
    """`/metrics` is a route like any other: each scrape is counted once it is answered."""
    for _ in range(3):
        measured.connection.receive(b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n")
    (_, second, third) = measured.connection.answers("GET", "GET", "GET")
    assert Scraped(second.body.decode()).requests() == {("/metrics", "GET", "200"): 1}
    assert Scraped(third.body.decode()).requests() == {("/metrics", "GET", "200"): 2}
    assert Scraped(third.body.decode()).total("requests_in_flight") == 0


async def test_an_asgi_server_counts_as_well() -> None:
    """The same application on any ASGI server serves the same metrics."""
    script = Script(load_module("core_plain"))
    runner = Runner(Scorer(script, input_parser(script, lambda _: None), None), 60_000, 8_000)
    board = Board(1, 1)
    metrics = WorkerMetrics(board, board.take())
    app = create_app(Swagger(Settings(), script.run), runner.submit, None, "", RecordedLog(), None, metrics)
    runner.metrics = metrics
    metrics.serve(app.paths, runner.slots, 0.0)
    served = ScoringApp(app, runner, 1000)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(served), base_url="http://t") as client:
        for content in (json.dumps({"data": [1, 2]}), "x" * 1001):
            await client.post("/score", content=content)
        scraped = Scraped((await client.get("/metrics")).text)
    served.stop()
    requests = scraped.requests()
    assert requests.pop(("/score", "POST", "413")) == 1
    assert list(requests.values()) == [1]
    assert scraped.values("queue_duration_seconds_count") == [1]
    assert scraped.total("requests_in_flight") == 0
