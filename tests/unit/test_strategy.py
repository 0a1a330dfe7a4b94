"""Which runner serves a script, and which scripts cannot be called with batches."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest
from inference_schema.parameter_types.standard_py_parameter_type import StandardPythonParameterType
from inference_schema.schema_decorators import input_schema

from azmlinfsrv import batched, rawhttp
from azmlinfsrv.async_runner import AsyncRunner
from azmlinfsrv.batch_runner import BatchRunner, BatchThreadsRunner
from azmlinfsrv.batching import BatchLimits
from azmlinfsrv.errors import ScriptError
from azmlinfsrv.runner import Runner, ThreadsRunner
from azmlinfsrv.script import Script
from azmlinfsrv.settings import Settings
from azmlinfsrv.strategy import batch_limits, make_runner
from tests.unit.http_fakes import logged

pytestmark = pytest.mark.usefixtures("_own_schemas")


def script_of(run: Callable[..., Any]) -> Script:
    """Return a script."""
    module = ModuleType("score")
    module.run, module.init, module.__file__ = run, lambda: None, "score.py"  # type: ignore[attr-defined]  # a script
    return Script(module)


def plain(data):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201 - as users write it
    """Return what it gets."""
    return data


async def asynchronous(data):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
    """Return what it gets."""
    return data


def generator(data):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
    """Yield what it gets."""
    yield from data


async def async_generator(data):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
    """Yield what it gets."""
    yield data


def typed_with_headers(data: list[int], request_headers: dict[str, str]) -> list[int]:  # noqa: ARG001
    """Return what it gets."""
    return data


@rawhttp
def raw(request):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
    """Return what it gets."""
    return request


@pytest.mark.parametrize(
    ("run", "reason"),
    [
        (raw, "@rawhttp"),
        (asynchronous, "async"),
        (generator, "a generator"),
        (async_generator, "async"),
        (typed_with_headers, "request_headers"),
    ],
)
def test_functions_that_cannot_take_batches_stop_the_start(run: Callable[..., Any], reason: str) -> None:
    """One line says which function it is and why."""
    with pytest.raises(ScriptError) as caught:
        batch_limits(script_of(run), Settings(max_batch_size=8))
    assert caught.value.message.startswith("run() cannot be called with batches: ")
    assert reason in caught.value.message and "\n" not in caught.value.message


def test_a_schema_script_with_headers_cannot_take_batches() -> None:
    """Several requests do not share their headers."""

    @batched()
    @input_schema("data", StandardPythonParameterType([1]))
    def run(data, request_headers):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
        return data, request_headers

    with pytest.raises(ScriptError, match="request_headers"):
        batch_limits(script_of(run), Settings())


def test_settings_win_over_the_decorator() -> None:
    """Each of the two limits comes from its setting, else from the decorator, else from its default."""

    def run(data):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
        return data

    assert batch_limits(script_of(run), Settings(max_batch_size=8)) == BatchLimits(8, 5.0)
    batched(max_batch_size=4, max_wait_ms=1)(run)
    assert batch_limits(script_of(run), Settings()) == BatchLimits(4, 1)
    assert batch_limits(script_of(run), Settings(max_batch_wait_ms=0.5)) == BatchLimits(4, 0.5)
    assert batch_limits(script_of(run), Settings(max_batch_size=8)) == BatchLimits(8, 1)


def test_a_wait_without_batches_is_warned_of() -> None:
    """A setting that does nothing says so."""
    with logged("azmlinfsrv.user_script") as messages:
        assert batch_limits(script_of(plain), Settings(max_batch_wait_ms=3)) is None
    assert any("AZMLINFSRV_MAX_BATCH_WAIT_MS has no effect" in text for text in messages)


@pytest.mark.parametrize(
    ("run", "settings", "expected"),
    [
        (plain, {}, Runner),
        (plain, {"worker_threads": 2}, ThreadsRunner),
        (asynchronous, {"worker_threads": 2}, AsyncRunner),
        (plain, {"max_batch_size": 2}, BatchRunner),
        (plain, {"max_batch_size": 2, "worker_threads": 2}, BatchThreadsRunner),
    ],
)
def test_the_runner_fits(run: Callable[..., Any], settings: dict[str, Any], expected: type[Runner]) -> None:
    """Asyncio for a coroutine function, threads where they are wanted, batches where they are."""
    script, chosen = script_of(run), Settings(**settings)
    runner = make_runner(script, chosen, lambda: None, None, batch_limits(script, chosen))
    runner.stop()
    runner.serve()
    assert type(runner) is expected
    assert runner.max_batch_size == settings.get("max_batch_size", 0)
    room = runner.slots * max(1, runner.max_batch_size)
    assert runner.admission.watched == Settings().max_queue + room
