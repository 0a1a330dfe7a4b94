"""The tree of errors, and the answer that each one is."""

from __future__ import annotations

import inspect

import pytest

from azmlinfsrv import errors
from azmlinfsrv.errors import (
    BadInputError,
    BodyTooLargeError,
    CallerTimeoutError,
    ClientLeftError,
    ConfigurationError,
    HeaderTooLongError,
    InvalidIdError,
    LateError,
    MethodNotAllowedError,
    NotFoundError,
    OverloadError,
    ProtocolError,
    RequestError,
    RunError,
    RunFailedError,
    RunTimeoutError,
    ScoringInterrupt,
    ScriptError,
    ScriptFailedError,
    ServerError,
    StopServing,
    SwaggerVersionError,
    UnauthorizedError,
    UnsupportedCodingError,
    UnsupportedInputError,
    UnsupportedMethodError,
    UsageError,
)

NOT_FOUND = (
    "The requested URL was not found on the server. "
    "If you entered the URL manually please check your spelling and try again."
)
RUN_FAILED = "An unexpected error occurred in scoring script. Check the logs for more info."


@pytest.mark.parametrize(
    ("error", "status", "message", "run_function_failed"),
    [
        (ServerError(), 500, "An unexpected internal error occurred. Check the logs for more info.", False),
        (BadInputError("x"), 400, "x", False),
        (UnsupportedInputError("x"), 415, "x", False),
        (UnsupportedMethodError(), 405, "Method not allowed", False),
        (NotFoundError(), 404, NOT_FOUND, False),
        (MethodNotAllowedError(), 405, "The method is not allowed for the requested URL.", False),
        (HeaderTooLongError("x"), 431, "x", False),
        (SwaggerVersionError("x"), 404, "x", False),
        (ProtocolError("x"), 400, "x", False),
        (ProtocolError("x", 413), 413, "x", False),
        (OverloadError(429, "concurrency", "x"), 429, "x", False),
        (OverloadError(503, "queue_full", "x"), 503, "x", False),
        (LateError(), 504, "The deadline of the request passed before it could be scored", False),
        (ClientLeftError(), 499, "The client closed its side of the connection", False),
        (CallerTimeoutError(1500), 504, "The deadline of the request passed while it was scored", True),
        (RunError(), 500, RUN_FAILED, True),
        (RunFailedError(), 500, RUN_FAILED, True),
        (RunFailedError("x"), 500, "x", True),
        (RunTimeoutError(1500), 500, "Scoring timeout after 1500 ms", True),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, ServerError) else None,
)
def test_each_error_knows_its_answer(error: ServerError, status: int, message: str, run_function_failed: bool) -> None:
    """Status, message and the run-function-failed flag are those of the released server."""
    assert (error.status, error.message, error.run_function_failed) == (status, message, run_function_failed)
    assert str(error) == message


@pytest.mark.parametrize(
    ("child", "parent"),
    [
        (ConfigurationError, ServerError),
        (UsageError, ConfigurationError),
        (ScriptError, ServerError),
        (ScriptFailedError, ScriptError),
        (RequestError, ServerError),
        (BadInputError, RequestError),
        (UnsupportedInputError, RequestError),
        (UnsupportedMethodError, RequestError),
        (NotFoundError, RequestError),
        (MethodNotAllowedError, RequestError),
        (InvalidIdError, RequestError),
        (HeaderTooLongError, InvalidIdError),
        (BodyTooLargeError, RequestError),
        (UnsupportedCodingError, UnsupportedInputError),
        (UnauthorizedError, ProtocolError),
        (SwaggerVersionError, RequestError),
        (ProtocolError, RequestError),
        (OverloadError, RequestError),
        (LateError, RequestError),
        (ClientLeftError, RequestError),
        (CallerTimeoutError, RunTimeoutError),
        (RunError, ServerError),
        (RunFailedError, RunError),
        (RunTimeoutError, RunError),
        (ScoringInterrupt, BaseException),
        (StopServing, BaseException),
    ],
    ids=lambda value: value.__name__,
)
def test_the_tree_is_as_drawn(child: type, parent: type) -> None:
    """Each class is a direct child of the one above it in the docstring's drawing."""
    assert child.__bases__ == (parent,)


def test_the_drawing_is_complete() -> None:
    """Every error class of the module stands in the docstring's drawing."""
    classes = {name for name, value in vars(errors).items() if inspect.isclass(value)}
    missing = {name for name in classes if f" {name} " not in f" {errors.__doc__} "}
    assert classes and not missing


@pytest.mark.parametrize("interrupt", [ScoringInterrupt, StopServing])
def test_a_user_cannot_swallow_an_interrupt(interrupt: type[BaseException]) -> None:
    """`except Exception` in a scoring script lets the interrupts of the server through."""
    assert not issubclass(interrupt, Exception)


def test_the_status_of_one_protocol_error_is_its_own() -> None:
    """A protocol error with a status does not change the status of the next one."""
    assert ProtocolError("x", 414).status == 414
    assert ProtocolError("y").status == 400
