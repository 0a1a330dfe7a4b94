"""Batches through `run()`: every style, failures, deadlines, threads, and what is told of each request."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterable, Iterator
from types import ModuleType
from typing import Any

import flask
import numpy as np
import pandas as pd
import pytest
from inference_schema.parameter_types.numpy_parameter_type import NumpyParameterType
from inference_schema.parameter_types.pandas_parameter_type import PandasParameterType
from inference_schema.parameter_types.standard_py_parameter_type import StandardPythonParameterType
from inference_schema.schema_decorators import input_schema
from werkzeug.exceptions import Conflict, NotFound

from azmlinfsrv import AMLResponse, batched, capture, codec
from azmlinfsrv.batch_runner import BatchRunner
from azmlinfsrv.batching import Company
from azmlinfsrv.messages import Request, Response
from azmlinfsrv.runner import Runner
from azmlinfsrv.script import Script
from azmlinfsrv.settings import Settings
from azmlinfsrv.strategy import batch_limits, make_runner
from azmlinfsrv.telemetry.board import BATCHED, Board
from azmlinfsrv.telemetry.metrics import WorkerMetrics
from azmlinfsrv.telemetry.prometheus import exposition
from azmlinfsrv.telemetry.readings import read
from tests.scraping import Scraped
from tests.unit.http_fakes import logged
from tests.unit.stage import Exchange, Signal, Stage

pytestmark = pytest.mark.usefixtures("_own_schemas")

JSON_HEADERS = {b"content-type": b"application/json"}


@pytest.fixture
def log() -> Iterator[list[str]]:
    """What the server logs."""
    with logged("azmlinfsrv") as messages:
        yield messages


class Held:
    """A ``run()`` whose first call waits until it is let go, so that others gather.

    Attributes:
        calls: the arguments of each call.
    """

    def __init__(self, run: Callable[..., Any]) -> None:
        self._run = run
        self.calls: list[Any] = []
        self.entered, self.go = Signal(), Signal()

    def __call__(self, data: Any) -> Any:
        """Return what the function returns."""
        self.calls.append(data)
        if len(self.calls) == 1:
            self.entered.set()
            self.go.wait()
        return self._run(data)


def runner_of(run: Callable[..., Any], **settings: Any) -> Runner:
    """Return the runner of a script."""
    module = ModuleType("score")
    module.run, module.init, module.__file__ = run, lambda: None, "score.py"  # type: ignore[attr-defined]  # a script
    script, chosen = Script(module), Settings(**settings)
    return make_runner(script, chosen, lambda: None, None, batch_limits(script, chosen))


@contextlib.contextmanager
def serving(run: Callable[..., Any], **settings: Any) -> Iterator[Stage]:
    """Serve a function in the block."""
    stage = Stage(runner_of(run, **settings))
    stage.thread.start()
    try:
        yield stage
    finally:
        stage.stop()


@contextlib.contextmanager
def gathered(held: Held, run: Callable[..., Any], bodies: list[str], **settings: Any) -> Iterator[list[Exchange]]:
    """Serve a function; the requests of the block have been answered, the first alone and the others gathered."""
    with serving(run, **settings) as stage:
        first = stage.submit(bodies[0])
        held.entered.wait()
        rest = [stage.submit(body) for body in bodies[1:]]
        held.go.set()
        stage.wait(first, *rest)
        yield [first, *rest]


def listed(held: Held, **limits: Any) -> Callable[..., Any]:
    """Return an undecorated function that gets lists."""

    @batched(**limits)
    def run(data):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202 - as users write it
        return held(data)

    return run


def body(exchange: Exchange) -> Any:
    """Return the value in an answer."""
    (response,) = exchange.responses
    return codec.loads(response.body)


def ask(stage: Stage, *values: Any) -> list[Exchange]:
    """Submit requests with JSON bodies, all at once."""
    exchanges = []
    for value in values:
        exchange = Exchange("json", reads=True)
        exchange.request.body, exchange.request.headers = codec.dumps(value), dict(JSON_HEADERS)
        stage.runner.submit(exchange.request, exchange.done)
        exchanges.append(exchange)
    return exchanges


# -- Lists -----------------------------------------------------------------------------------------------------------


def test_what_gathers_while_run_works_is_the_next_batch() -> None:
    """A lone request is called at once; those that come meanwhile are one call, up to the size, in order."""
    held = Held(lambda data: [text.upper() for text in data])
    with gathered(held, listed(held, max_batch_size=3), list("abcdef")) as exchanges:
        assert held.calls == [["a"], ["b", "c", "d"], ["e", "f"]]
        assert [body(exchange) for exchange in exchanges] == list("ABCDEF")


def test_a_setting_batches_a_script_that_is_not_decorated() -> None:
    """AZMLINFSRV_MAX_BATCH_SIZE makes batches of its own, and wins over the decorator."""
    held = Held(lambda data: data)
    with gathered(held, held.__call__, list("abc"), max_batch_size=2):
        assert held.calls == [["a"], ["b", "c"]]
    held = Held(lambda data: data)
    with gathered(held, listed(held, max_batch_size=1), list("abc"), max_batch_size=2):
        assert held.calls == [["a"], ["b", "c"]]


def test_each_request_of_a_batch_has_its_own_answer() -> None:
    """Responses, HTTP exceptions and other exceptions in the list are the answers of their requests."""
    results = {
        "json": {"x": 1},
        "none": None,
        "aml": AMLResponse("own", 201, {"X-Own": "1"}),
        "missing": NotFound("gone"),
        "failed": ValueError("no"),
        "unknown": object(),
        "bytes": b"\0",
    }
    held = Held(lambda data: [results[text] for text in data])
    with gathered(held, listed(held), ["json", *results]) as exchanges:
        assert len(held.calls) == 2
        answers = dict(zip(results, exchanges[1:], strict=True))
    statuses = {name: exchange.status for name, exchange in answers.items()}
    assert statuses == {
        "json": 200,
        "none": 200,
        "aml": 201,
        "missing": 404,
        "failed": 500,
        "unknown": 500,
        "bytes": 200,
    }
    assert (body(answers["json"]), body(answers["none"])) == ({"x": 1}, {})
    assert ("X-Own", "1") in answers["aml"].responses[0].headers
    assert body(answers["missing"]) == {"message": "gone"}
    assert answers["bytes"].responses[0].body == b"\0"
    assert "ValueError: no" in answers["failed"].responses[0].error


@pytest.mark.parametrize("result", [[1], [1, 2, 3, 4], {"a": 1}, None])
def test_a_wrong_number_of_results(result: Any, log: list[str]) -> None:
    """It is a 500 for each request, with what was wrong in the log, and is not tried again."""
    held = Held(lambda data: data if len(data) == 1 else result)
    with gathered(held, listed(held), list("abc")) as exchanges:
        assert [exchange.status for exchange in exchanges] == [200, 500, 500]
        assert len(held.calls) == 2
    for name in "bc":
        assert any(f"Request id: id-{name}" in text and "here 2; it returned" in text for text in log)


def test_generators_are_refused_when_they_come() -> None:
    """A function that returns a generator, which nobody can see before it does, gets a 500."""
    held = Held(lambda data: (text for text in data))
    with gathered(held, listed(held), list("ab")) as exchanges:
        assert [exchange.status for exchange in exchanges] == [500, 500]


# -- Failures --------------------------------------------------------------------------------------------------------


def fails_on(bad: str) -> Callable[[Any], Any]:
    """Return a function that raises where one of the inputs is bad."""

    def run(data: list[str]) -> list[str]:
        if bad in data:
            raise ValueError(f"{bad} among {len(data)}")
        return data

    return run


def test_a_request_that_fails_does_not_spoil_its_neighbours(log: list[str]) -> None:
    """Each request of a batch on which run() raised is scored alone once, and the log says so."""
    held = Held(fails_on("c"))
    with gathered(held, listed(held), list("abcd")) as exchanges:
        assert held.calls == [["a"], ["b", "c", "d"], ["b"], ["c"], ["d"]]
        assert [exchange.status for exchange in exchanges] == [200, 200, 500, 200]
    warning = "run() failed for a batch of 3 requests; each is scored alone: ValueError: c among 3"
    assert warning in log
    (error,) = (text for text in log if text.startswith("Encountered Exception"))
    assert "ValueError: c among 1" in error and error.endswith("Request id: id-c")


def test_the_second_try_can_be_turned_off() -> None:
    """With AZMLINFSRV_BATCH_RETRY=false all requests of the batch fail."""
    held = Held(fails_on("c"))
    with gathered(held, listed(held), list("abcd"), batch_retry=False) as exchanges:
        assert len(held.calls) == 2
        assert [exchange.status for exchange in exchanges] == [200, 500, 500, 500]


def test_an_http_exception_for_one_request(log: list[str]) -> None:
    """What run() raises when it is called for a request alone is that request's answer."""

    def run(data: list[str]) -> list[str]:
        if "b" in data:
            raise Conflict("taken")
        return data

    held = Held(run)
    with gathered(held, listed(held), list("abc")) as exchanges:
        assert [exchange.status for exchange in exchanges] == [200, 409, 200]
    assert not [text for text in log if text.startswith("Encountered Exception")]


def test_a_batch_has_one_deadline(log: list[str]) -> None:
    """A batch that takes too long is a timeout for each of its requests, and is not tried again; the next one runs."""
    released = threading.Event()

    def work(data: list[str]) -> list[str]:
        while len(data) > 1 and not released.is_set():
            pass
        return data

    held = Held(work)
    board = Board(1, 1)
    metrics = WorkerMetrics(board, board.take())
    with serving(listed(held), scoring_timeout_ms=50) as stage:
        stage.runner.metrics = metrics
        metrics.serve(["/score"], 1, 0.0, stage.runner.max_batch_size)
        first = stage.submit("a")
        held.entered.wait()
        rest = [stage.submit(name) for name in "bc"]
        held.go.set()
        stage.wait(first)
        while len(held.calls) < 2:
            stage.io.until_quiet()
        while not all(exchange.answered for exchange in rest):
            stage.runner.check_deadlines(float("inf"))
            stage.io.until_quiet()
        last = stage.ask("d")
        stage.io.until_quiet()
    released.set()
    for exchange in (first, *rest, last):
        metrics.finished(exchange.request, exchange.status, 0)
    assert Scraped(exposition(read(board))).total("run_timeouts_total") == 2
    assert [board.cells[start + BATCHED] for start in board.used()] == [0], "no batch is within run()"
    assert [exchange.status for exchange in (first, *rest, last)] == [200, 500, 500, 200]
    assert held.calls == [["a"], ["b", "c"], ["d"]]
    assert body(rest[0]) == {"message": "Scoring timeout after 50 ms"}
    assert all(exchange.request.timed_out for exchange in rest)
    assert {f"id-{name}" for name in "bc"} == {
        text.rpartition("Request id: ")[2] for text in log if "allocated time" in text
    }


def test_a_client_that_left_harms_nobody() -> None:
    """A disconnected request stays in its batch; its neighbours have their answers."""
    held = Held(lambda data: data)
    with serving(listed(held)) as stage:
        exchanges = [stage.submit("a")]
        held.entered.wait()
        exchanges += [stage.submit(name) for name in "bc"]
        exchanges[1].request.disconnected = True
        held.go.set()
        stage.wait(*exchanges)
        assert stage.runner.pending == 0
    assert [body(exchange) for exchange in exchanges] == list("abc")


def test_input_that_is_no_text_never_joins() -> None:
    """A body that cannot be decoded is refused before the batch."""
    held = Held(lambda data: data)
    with serving(listed(held)) as stage:
        exchanges = [stage.submit("a")]
        held.entered.wait()
        bad = Exchange("bad", reads=True)
        bad.request.body = b"\xff"
        stage.runner.submit(bad.request, bad.done)
        exchanges += [stage.submit("b"), bad]
        held.go.set()
        stage.wait(*exchanges)
    assert held.calls == [["a"], ["b"]]
    assert bad.status == 400


# -- Rows ------------------------------------------------------------------------------------------------------------


def schema_run(held: Held) -> Callable[..., Any]:
    """Return a function with inference-schema's arrays, frames and numbers."""
    sample = pd.DataFrame({"age": [1.0], "name": ["x"]})

    @input_schema("factor", StandardPythonParameterType(1))
    @input_schema("frame", PandasParameterType(sample))
    @input_schema("data", NumpyParameterType(np.array([[1.0, 2.0]])))
    def run(data, frame, factor=1):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202 - as users write it
        return held({"data": data, "frame": frame, "factor": factor})

    decorated: Callable[..., Any] = run
    return decorated


def rows_of(*numbers: float, factor: int = 1) -> dict[str, Any]:
    """Return an input with a row for each number."""
    records = [{"age": number, "name": "n"} for number in numbers]
    return {"data": [[number, 0.0] for number in numbers], "frame": records, "factor": factor}


def doubled(arguments: dict[str, Any]) -> Any:
    """Return a result for each row, made of all parameters."""
    assert isinstance(arguments["frame"], pd.DataFrame) and isinstance(arguments["data"], np.ndarray)
    return arguments["data"][:, 0] + arguments["frame"]["age"].to_numpy() * arguments["factor"]


def test_schema_scripts_get_the_rows_of_several_requests() -> None:
    """Rows are joined up to the size and results split; other numbers and bad inputs are apart, large ones alone."""
    held = Held(doubled)
    with serving(schema_run(held), max_batch_size=4) as stage:
        first = ask(stage, rows_of(0))
        held.entered.wait()
        inputs = [rows_of(1), rows_of(2, 3), rows_of(4, factor=9), {"data": [[1]]}, rows_of(5), rows_of(1, 2, 3, 4, 5)]
        rest = ask(stage, *inputs, {"data": "x", "frame": []})
        held.go.set()
        stage.wait(*first, *rest)
    assert [len(each["data"]) for each in held.calls] == [1, 4, 1, 5]
    assert [exchange.status for exchange in rest] == [200, 200, 200, 400, 200, 200, 400]
    answers = [body(exchange) for exchange in rest]
    assert answers[:3] == [[2.0], [4.0, 6.0], [40.0]] and answers[4:6] == [[10.0], [2.0, 4.0, 6.0, 8.0, 10.0]]
    assert "'data' parameter" in answers[6]["message"]


def test_an_optional_parameter_that_is_sent_does_not_join() -> None:
    """inference-schema converts optional parameters itself, so a request that has one runs alone, with its own."""
    calls: list[tuple[int, bool]] = []
    held = Held(lambda data: data)

    @input_schema("more", NumpyParameterType(np.array([1.0])), optional=True)
    @input_schema("data", NumpyParameterType(np.array([1.0])))
    def run(data, more=None):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202 - as users write it
        calls.append((len(data), isinstance(more, np.ndarray)))
        return held(data)

    with serving(run, max_batch_size=4) as stage:
        first = ask(stage, {"data": [0]})
        held.entered.wait()
        rest = ask(stage, {"data": [1]}, {"data": [2], "more": [3]}, {"data": [4], "more": [3]}, {"data": [5]})
        held.go.set()
        stage.wait(*first, *rest)
    assert calls == [(1, False), (2, False), (1, True), (1, True)]
    assert [body(exchange) for exchange in rest] == [[1.0], [2.0], [4.0], [5.0]]


def test_results_that_have_no_rows_are_scored_alone(log: list[str]) -> None:
    """A script whose result cannot be split gives every request its own, and the log says why batches do not work."""
    held = Held(lambda arguments: codec.dumps(doubled(arguments)).decode())
    with serving(schema_run(held), max_batch_size=4) as stage:
        first = ask(stage, rows_of(0))
        held.entered.wait()
        rest = ask(stage, rows_of(1), rows_of(2, 3))
        held.go.set()
        stage.wait(*first, *rest)
    assert [body(exchange) for exchange in (*first, *rest)] == ["[0.0]", "[2.0]", "[4.0,6.0]"]
    assert any("a result for each row of a batch, here 3; it returned str" in text for text in log)


def test_typed_scripts_get_the_rows_of_several_requests() -> None:
    """A typed `run()` gets longer lists, and each request the part of the result that is its own."""
    held = Held(lambda arguments: [number * arguments["factor"] for number in arguments["numbers"]])

    @batched(max_batch_size=4)
    def run(numbers: list[float], factor: int = 2) -> list[float]:
        result: list[float] = held({"numbers": numbers, "factor": factor})
        return result

    with serving(run) as stage:
        first = ask(stage, {"numbers": [0]})
        held.entered.wait()
        rest = ask(stage, {"numbers": [1, 2]}, {"numbers": ["x"]}, {"numbers": [3], "factor": 5}, {"numbers": [4]})
        held.go.set()
        stage.wait(*first, *rest)
    assert [each["numbers"] for each in held.calls] == [[0], [1, 2, 4], [3]]
    assert [exchange.status for exchange in rest] == [200, 400, 200, 200]
    assert [body(exchange) for exchange in rest if exchange.status == 200] == [[2.0, 4.0], [15.0], [8.0]]


# -- What is told of requests ----------------------------------------------------------------------------------------


def test_times_ids_and_metrics_of_a_batch() -> None:
    """Each request has the batch's time, the batch the id of its first request, and its size is counted."""
    seen: list[str] = []

    def work(data: list[str]) -> list[str]:
        seen.append(capture.current_request())
        return data

    held = Held(work)
    runner = runner_of(listed(held, max_batch_size=8))
    board = Board(1, 1)
    metrics = runner.metrics = WorkerMetrics(board, board.take())
    metrics.serve(["/score"], runner.slots, 0.0, runner.max_batch_size)

    def done(request: Request, response: Response) -> None:
        metrics.finished(request, response.status, len(response.body))

    stage = Stage(runner)
    stage.thread.start()
    try:
        exchanges = [stage.submit("a")]
        held.entered.wait()
        assert stage.io.wakeups == 0, "the I/O thread would be in the way of run()"
        exchanges += [stage.submit(name) for name in "bcd"]
        stage.io.until_quiet()
        depth = Scraped(exposition(read(board))).total("queue_depth", worker="0")
        held.go.set()
        stage.wait(*exchanges)
        stage.io.until_quiet()
    finally:
        stage.stop()
    for exchange in exchanges:
        done(exchange.request, exchange.responses[0])
    assert depth == 3
    assert seen == ["id-a", "id-b"]
    times = [exchange.responses[0].exec_ms for exchange in exchanges]
    assert times[1] is not None and times[1] > 0 and times[1:] == [times[1]] * 3
    scraped = Scraped(exposition(read(board)))
    assert scraped.total("batch_size_sum") == 4
    assert scraped.total("run_duration_seconds_count") == 2
    assert scraped.total("queue_duration_seconds_count") == 4
    assert scraped.total("batch_size_bucket", le="2.0") == 1
    assert scraped.total("batch_size_bucket", le="4.0") == 2
    assert scraped.total("queue_depth", worker="0") == 0


def test_the_metric_is_only_there_with_batches() -> None:
    """A server that scores requests one by one does not show the sizes of batches."""
    board = Board(1, 1)
    WorkerMetrics(board, board.take()).serve(["/score"], 1, 0.0)
    assert "batch_size" not in exposition(read(board))


def test_there_is_no_flask_request_in_a_batch() -> None:
    """Scripts may use Flask's application, but no request is the request of a batch."""
    seen: list[tuple[str, bool]] = []

    def work(data: list[str]) -> list[str]:
        seen.append((flask.current_app.name, flask.has_request_context()))
        return data

    held = Held(work)
    with gathered(held, listed(held), list("ab")) as exchanges:
        assert [exchange.status for exchange in exchanges] == [200, 200]
    assert seen == [("azmlinfsrv", False)] * 2


# -- Threads and the stop --------------------------------------------------------------------------------------------


def test_threads_score_batches_at_the_same_time() -> None:
    """With WORKER_THREADS=2 a second batch runs while the first one does."""
    barrier = threading.Barrier(2, timeout=15)

    def run(data: list[str]) -> list[str]:
        if "z" not in data:
            barrier.wait()
        return data

    with serving(batched(max_batch_size=1)(run_of(run)), worker_threads=2) as stage:
        exchanges = [stage.submit(name) for name in "abcd"]
        stage.wait(*exchanges)
    assert [body(exchange) for exchange in exchanges] == list("abcd")


def run_of(function: Callable[[Any], Any]) -> Callable[..., Any]:
    """Return the function without its annotations, which would make it a typed one."""

    def run(data):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202 - as users write it
        return function(data)

    return run


@pytest.mark.parametrize("threads", [1, 3])
def test_what_was_queued_before_the_stop_is_scored(threads: int) -> None:
    """A stop in the middle of a batch answers those that wait, and ends every thread without a wait for company."""
    held = Held(lambda data: data)
    with serving(listed(held, max_batch_size=2, max_wait_ms=600_000), worker_threads=threads) as stage:
        exchanges = [stage.submit("a")]
        held.entered.wait()
        exchanges += [stage.submit(name) for name in "bcdef"]
        stage.runner.stop()
        held.go.set()
        stage.wait(*exchanges)
        stage.join()
    assert [body(exchange) for exchange in exchanges] == list("abcdef")


class ForThree(Company):
    """Waits for three requests, however long that takes."""

    def patience_s(self, now: float, waiting: int) -> float:
        """See `Company.patience_s`."""
        return 600.0 if waiting < 3 else 0.0


@pytest.mark.parametrize("threads", [1, 2])
def test_a_batch_waits_for_its_company(threads: int) -> None:
    """While a batch waits, requests join it one by one, and it runs once it has what it waited for."""
    held = Held(lambda data: data)
    held.go.set()
    with serving(listed(held, max_batch_size=8), worker_threads=threads) as stage:
        assert isinstance(stage.runner, BatchRunner)
        stage.runner.company = ForThree(0)
        exchanges = []
        for name in "abc":
            exchanges.append(stage.submit(name))
            stage.runner.nudge()
            stage.io.until_quiet()
        stage.wait(*exchanges)
    assert held.calls == [["a", "b", "c"]]


def test_what_was_learnt_is_told() -> None:
    """After a batch the runner knows how many came with it, and who of those that wait came in time."""
    held = Held(lambda data: data)
    with serving(listed(held, max_batch_size=3)) as stage:
        learnt: list[tuple[int, int]] = []

        class Learning(Company):
            def ended(self, now: float, run_ended: float, run_s: float, taken: int, received: Iterable[float]) -> None:
                assert now >= run_ended and run_s > 0
                learnt.append((taken, len(list(received))))

        assert isinstance(stage.runner, BatchRunner)
        stage.runner.company = Learning(0)
        exchanges = [stage.submit("a")]
        held.entered.wait()
        exchanges += [stage.submit(name) for name in "bcdef"]
        held.go.set()
        stage.wait(*exchanges)
        stage.stop()
    assert learnt == [(1, 5), (3, 2), (2, 0)]
