"""One request through the user's `run()`: what it answers, and what the log says."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any, NoReturn, cast

import flask
import numpy as np
import pytest
from inference_schema import schema_decorators
from inference_schema.parameter_types.numpy_parameter_type import NumpyParameterType
from werkzeug.exceptions import BadRequest, HTTPException

from azmlinfsrv.errors import (
    INTERNAL,
    RUN_FAILED,
    BadInputError,
    RunTimeoutError,
    ServerError,
    StopServing,
    UnsupportedMethodError,
)
from azmlinfsrv.identity import RequestIds
from azmlinfsrv.messages import Request, Response
from azmlinfsrv.scorer import Context, Scorer
from azmlinfsrv.script import Script, Style

REQUEST_ID = "04c6f58d-510f-4e3a-933e-60ac20f2707d"


class FakeScript(Script):
    """What the scorer wants to know of a script."""

    def __init__(self, run: Callable[..., Any], style: Style) -> None:
        self.run = run
        self.style = style
        self.typed = None


def a_request(method: str = "POST", body: bytes = b"data") -> Request:
    """Return a request with an id."""
    request = Request(method, b"/score", "/score", b"", {}, body, "1.1", ("192.0.2.1", 1), 0.0)
    request.ids = RequestIds(REQUEST_ID, REQUEST_ID, "")
    return request


def body_of(request: Request) -> dict[str, Any]:
    """Return the arguments of a run() that takes the body."""
    return {"data": request.body.decode()}


def nothing(_: Request) -> dict[str, Any]:
    """Return the arguments of a run() that takes none."""
    return {}


def call(function: Callable[..., Any], arguments: dict[str, Any]) -> Any:
    """Call as the deadline does, without one."""
    return function(**arguments)


def scorer_of(
    run: Callable[..., Any],
    parse: Callable[[Request], dict[str, Any]] = body_of,
    context: Context | None = None,
    style: Style = Style.JSON_TEXT,
) -> Scorer:
    """Return a scorer for a function."""
    return Scorer(cast("Script", FakeScript(run, style)), parse, context)


def scored(run: Callable[..., Any], **options: Any) -> Response:
    """Return the answer to a request."""
    return scorer_of(run, **options).score(a_request(), call)


def scored_async(run: Callable[..., Any], timeout_ms: int = 10_000, **options: Any) -> Response:
    """Return the answer of an asynchronous script to a request."""
    try:
        return asyncio.run(scorer_of(run, **options).score_async(a_request(), timeout_ms))
    except (SystemExit, KeyboardInterrupt, GeneratorExit) as error:
        pytest.fail(f"{error!r} ended the server's loop")


def awaited(run: Callable[..., Any]) -> Callable[..., Awaitable[Any]]:
    """Return the asynchronous function that does the same."""

    async def run_async(**arguments: Any) -> Any:
        return run(**arguments)

    return run_async


def answer(response: Response) -> tuple[int, Any, str]:
    """Return status, JSON and the header that says whether run() failed."""
    headers = dict(response.headers)
    assert len(headers) == len(response.headers)
    return response.status, json.loads(response.body), headers["x-ms-run-function-failed"]


def fail(error: BaseException) -> NoReturn:
    """Raise, as a function that a script calls."""
    raise error


# The two ways in which a script is called.
both = pytest.mark.parametrize(
    "score", [scored, lambda run, **options: scored_async(awaited(run), **options)], ids=["sync", "async"]
)
Score = Callable[..., Response]


# -- Results ---------------------------------------------------------------------------------------------------------


@both
def test_a_result(score: Score) -> None:
    """What run() returns is the answer, with the time that it took."""
    response = score(lambda data: {"got": data})
    assert answer(response) == (200, {"got": "data"}, "False")
    assert response.exec_ms is not None and 0 <= response.exec_ms < 10_000


@both
def test_a_result_that_json_cannot_hold(score: Score, caplog: pytest.LogCaptureFixture) -> None:
    """A set is a 500 that is not blamed on run(), and the log says what it was, and of which request."""
    response = score(lambda data: {1, 2})
    assert answer(response) == (500, {"message": INTERNAL}, "False")
    assert response.exec_ms is None
    (line,) = caplog.messages
    assert line.startswith("Encountered Exception: TypeError: ")
    assert line.endswith(f"Object of type set is not JSON serializable\nRequest id: {REQUEST_ID}")


@both
def test_a_response_of_the_script(score: Score) -> None:
    """A Flask response is passed on, with the time that run() took."""
    response = score(lambda data: flask.Response(data, status=201))
    assert (response.status, response.body) == (201, b"data")
    assert response.exec_ms is not None


# -- Errors before the call ------------------------------------------------------------------------------------------


@both
def test_bad_input_never_reaches_the_script(score: Score, caplog: pytest.LogCaptureFixture) -> None:
    """Input that cannot be parsed gets its own answer; run() is not called and nothing is logged."""
    called = []

    def parse(request: Request) -> dict[str, Any]:
        raise BadInputError(request.method)

    response = score(lambda: called.append(True), parse=parse)
    assert answer(response) == (400, {"message": "POST"}, "False")
    assert response.exec_ms is None
    assert not called and not caplog.messages


@pytest.mark.parametrize(("method", "status", "body"), [("OPTIONS", 200, ""), ("PUT", 405, "Method not allowed")])
def test_methods_that_a_style_does_not_take(method: str, status: int, body: str) -> None:
    """OPTIONS is answered with an empty 200, and every other method with 405."""

    def parse(_: Request) -> dict[str, Any]:
        raise UnsupportedMethodError

    response = scorer_of(len, parse).score(a_request(method), call)
    assert response.status == status
    assert ("x-ms-run-function-failed", "False") in response.headers
    if method == "OPTIONS":
        assert response.body == b""
        assert ("Content-Type", "text/html; charset=utf-8") in response.headers
    else:
        assert json.loads(response.body) == {"message": body}


@both
def test_a_defect_of_ours_is_an_internal_error(score: Score, caplog: pytest.LogCaptureFixture) -> None:
    """What fails outside of run() is a 500 without details, and the log has the traceback and the request id."""
    response = score(len, parse=lambda _: fail(LookupError("secret detail")))
    assert answer(response) == (500, {"message": INTERNAL}, "False")
    (line,) = caplog.messages
    assert line.startswith("Encountered Exception: Traceback (most recent call last):\n")
    assert line.endswith(f"LookupError: secret detail\nRequest id: {REQUEST_ID}")


# -- Errors of the script --------------------------------------------------------------------------------------------


@both
@pytest.mark.parametrize("error", [ValueError("secret"), TimeoutError("secret"), RecursionError("secret")])
def test_an_exception_of_the_script(score: Score, error: Exception, caplog: pytest.LogCaptureFixture) -> None:
    """run() that raises is a 500 without details; the log has the user's own traceback and the request id."""
    response = score(lambda data: fail(error))
    assert answer(response) == (500, {"message": RUN_FAILED}, "True")
    assert response.exec_ms is None
    (record,) = caplog.records
    assert (record.name, record.levelno) == ("azmlinfsrv", logging.ERROR)
    line = record.getMessage()
    assert line.startswith("Encountered Exception: Traceback (most recent call last):\n")
    assert line.endswith(f"{type(error).__name__}: secret\nRequest id: {REQUEST_ID}")
    assert "in fail" in line
    assert "azmlinfsrv" not in line.replace("test_", "")


@both
@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt(), GeneratorExit()])
def test_a_script_that_exits(score: Score, error: BaseException, caplog: pytest.LogCaptureFixture) -> None:
    """A run() that calls `sys.exit` has failed like any other, and the server goes on."""
    assert answer(score(lambda data: fail(error))) == (500, {"message": RUN_FAILED}, "True")
    assert type(error).__name__ in caplog.text


def test_a_task_that_the_script_cancels() -> None:
    """An `async def run()` that ends in a CancelledError of its own making has failed, and is answered."""

    async def run() -> None:
        task = asyncio.ensure_future(asyncio.sleep(1000))
        task.cancel()
        await task

    assert answer(scored_async(run, parse=nothing)) == (500, {"message": RUN_FAILED}, "True")


def test_the_worker_can_stop_a_call() -> None:
    """The interrupt of a stop goes through run() to the worker."""
    with pytest.raises(StopServing):
        scored(lambda data: fail(StopServing()))


def test_a_deadline_that_passed(caplog: pytest.LogCaptureFixture) -> None:
    """A call that was interrupted is a 500 with the time limit; the log says where it was, and of which request."""

    def interrupted(function: Callable[..., Any], arguments: dict[str, Any]) -> Any:
        try:
            return function(**arguments)
        except ZeroDivisionError as error:  # stands for the interrupt
            raise RunTimeoutError(1500) from error

    response = scorer_of(lambda data: 1 / 0).score(a_request(), interrupted)
    assert answer(response) == (500, {"message": "Scoring timeout after 1500 ms"}, "True")
    (line,) = caplog.messages
    reason = "Script failed to finish execution within the allocated time: 1500ms"
    assert line.startswith(f"Encountered Exception: {reason}\n")
    assert line.endswith(f"\nRequest id: {REQUEST_ID}")
    assert "in <lambda>" in line


def test_a_deadline_that_passed_asynchronously(caplog: pytest.LogCaptureFixture) -> None:
    """An `async def run()` that takes too long is cancelled, and answered alike."""
    ended: list[str] = []

    async def run() -> None:
        try:
            await asyncio.sleep(1000)
        except asyncio.CancelledError:
            ended.append("cancelled")
            raise

    response = scored_async(run, timeout_ms=20, parse=nothing)
    assert answer(response) == (500, {"message": "Scoring timeout after 20 ms"}, "True")
    assert ended == ["cancelled"]
    assert f"Request id: {REQUEST_ID}" in caplog.text


def test_cancelling_the_request_cancels_the_call() -> None:
    """A task that is cancelled from outside cancels run(), and is not answered."""
    ended: list[str] = []

    async def main() -> None:
        started = asyncio.Event()

        async def run() -> None:
            started.set()
            try:
                await asyncio.sleep(1000)
            finally:
                ended.append("cancelled")

        task = asyncio.ensure_future(scorer_of(run, nothing).score_async(a_request(), 60_000))
        await started.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.sleep(0)

    asyncio.run(main())
    assert ended == ["cancelled"]


# -- HTTP exceptions -------------------------------------------------------------------------------------------------


@both
@pytest.mark.parametrize(
    ("abort", "expected"),
    [
        (lambda: flask.abort(404, "no such model"), (404, {"message": "no such model"}, "False")),
        (lambda: flask.abort(429, "slow down"), (429, {"message": "slow down"}, "False")),
        (lambda: flask.abort(503, "loading"), (503, {"message": "loading"}, "True")),
        (lambda: fail(BadRequest()), (400, {"message": BadRequest.description}, "False")),
    ],
)
def test_http_exceptions(score: Score, abort: Callable[[], Any], expected: tuple[int, Any, str]) -> None:
    """`flask.abort` in run() is its own status and message; from 500 on run() has failed."""
    assert answer(score(lambda data: abort())) == expected


@both
@pytest.mark.parametrize(("status", "logged"), [(404, False), (500, True), (503, True)])
def test_http_exceptions_in_the_log(score: Score, status: int, logged: bool, caplog: pytest.LogCaptureFixture) -> None:
    """Only those that are failures are logged, with the traceback."""
    score(lambda data: flask.abort(status, "x"))
    assert bool(caplog.messages) is logged
    assert not logged or f"Request id: {REQUEST_ID}" in caplog.text


@both
def test_an_http_exception_with_a_response(score: Score) -> None:
    """`flask.abort` with a response answers with that response."""
    response = score(lambda data: flask.abort(flask.Response("own", status=402, headers={"X-Own": "1"})))
    assert (response.status, response.body) == (402, b"own")
    assert ("X-Own", "1") in response.headers


@both
def test_an_http_exception_without_a_status(score: Score) -> None:
    """An exception that has no status is a 500."""
    status, content, failed = answer(score(lambda data: fail(HTTPException("odd"))))
    assert (status, content, failed) == (500, {"message": "odd"}, "True")


# -- Schemas ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def schema_run(_own_schemas: None) -> Callable[..., Any]:
    """A decorated run() that takes an array, and fails on zeros."""

    def run(data: Any) -> Any:
        return 1 // int(data.sum())

    decorate: Any = schema_decorators.input_schema("data", NumpyParameterType(np.array([1])))
    decorated: Callable[..., Any] = decorate(run)
    return decorated


def scored_with_schema(run: Callable[..., Any], data: Any) -> Response:
    """Return the answer of a script with a schema."""
    return scored(run, parse=lambda _: {"data": data}, style=Style.SCHEMA)


def test_input_that_the_schema_cannot_convert(schema_run: Callable[..., Any], caplog: pytest.LogCaptureFixture) -> None:
    """It is a 400 that names the parameter, and no failure of run()."""
    status, content, failed = answer(scored_with_schema(schema_run, ["x"]))
    assert (status, failed) == (400, "False")
    assert content["message"].startswith("The 'data' parameter is not valid. Expected an array of int64")
    assert not caplog.messages


def test_an_error_behind_the_schema(schema_run: Callable[..., Any], caplog: pytest.LogCaptureFixture) -> None:
    """An error of the script's own is a 500, though it has a schema."""
    assert answer(scored_with_schema(schema_run, [0])) == (500, {"message": RUN_FAILED}, "True")
    assert "ZeroDivisionError" in caplog.text
    assert answer(scored_with_schema(schema_run, [1])) == (200, 1, "False")


# -- Streams ---------------------------------------------------------------------------------------------------------


def test_a_generator_is_streamed() -> None:
    """A generator's first item is made within the call, the others when they are sent."""
    made: list[int] = []
    calls: list[Any] = []

    def run() -> Iterator[Any]:
        for number in range(3):
            made.append(number)
            yield {"n": number}

    def counted(function: Callable[..., Any], arguments: dict[str, Any]) -> Any:
        calls.append(function)
        return function(**arguments)

    response = scorer_of(run, nothing).score(a_request(), counted)
    assert (response.status, made, len(calls)) == (200, [0], 2)
    assert isinstance(response.stream, Iterator)
    assert b"".join(response.stream) == b'{"n":0}\n{"n":1}\n{"n":2}\n'
    assert response.exec_ms is not None
    assert ("Content-Type", "application/x-ndjson") in response.headers


@pytest.mark.parametrize(
    ("items", "content_type", "body"),
    [
        ((), "text/plain; charset=utf-8", b""),
        ((None, {"a": 1}), "application/x-ndjson", b'null\n{"a":1}\n'),
        (("", "a"), "text/plain; charset=utf-8", b"a"),
    ],
    ids=["nothing", "none-first", "empty-first"],
)
@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
def test_the_first_item_decides(items: tuple[Any, ...], content_type: str, body: bytes, is_async: bool) -> None:
    """A generator of nothing is an empty text; a None is an item like any other, and so is an empty text."""

    def run() -> Iterator[Any]:
        yield from items

    async def run_async() -> AsyncIterator[Any]:
        for item in items:
            yield item

    async def main() -> tuple[Response, bytes]:
        response = await scorer_of(run_async, nothing).score_async(a_request(), 10_000)
        assert isinstance(response.stream, AsyncIterator)
        return response, b"".join([chunk async for chunk in response.stream])

    if is_async:
        response, sent = asyncio.run(main())
    else:
        response = scored(run, parse=nothing)
        assert isinstance(response.stream, Iterator)
        sent = b"".join(response.stream)
    assert ("Content-Type", content_type) in response.headers
    assert sent == body


def test_a_generator_that_fails_at_once() -> None:
    """A generator that raises before its first item is a 500, and not a stream that breaks off."""

    def run(data: str) -> Iterator[Any]:
        yield int(data)

    async def run_async(data: str) -> AsyncIterator[Any]:
        yield int(data)

    assert answer(scored(run)) == answer(scored_async(run_async)) == (500, {"message": RUN_FAILED}, "True")


# -- The context of Flask --------------------------------------------------------------------------------------------


@both
@pytest.mark.parametrize("error", [None, ValueError("x"), ServerError("x")])
def test_the_context_surrounds_the_call(score: Score, error: Exception | None) -> None:
    """Parsing and run() see the context of the request, which is left whatever happens."""
    events: list[str] = []

    @contextlib.contextmanager
    def context(request: Request) -> Iterator[None]:
        events.append(f"enter {request.ids.request_id}")
        try:
            yield
        finally:
            events.append("leave")

    def parse(request: Request) -> dict[str, Any]:
        events.append("parse")
        return nothing(request)

    def run() -> Any:
        events.append("run")
        return fail(error) if error else None

    score(run, parse=parse, context=context)
    assert events == [f"enter {REQUEST_ID}", "parse", "run", "leave"]


@both
def test_a_context_that_fails(score: Score, caplog: pytest.LogCaptureFixture) -> None:
    """A context that cannot be made is an internal error."""
    response = score(len, context=lambda request: fail(LookupError("x")))
    assert answer(response) == (500, {"message": INTERNAL}, "False")
    assert "LookupError" in caplog.text
