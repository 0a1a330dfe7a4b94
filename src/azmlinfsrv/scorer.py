"""One request through the user's ``run()``: arguments, call, result, errors."""

from __future__ import annotations

import contextlib
import logging
import sys
import time
import traceback
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager
from typing import Any

from azmlinfsrv import logs, outputs
from azmlinfsrv.async_call import OddEndError, call_async
from azmlinfsrv.errors import (
    CallerTimeoutError,
    RunError,
    RunFailedError,
    RunTimeoutError,
    ServerError,
    StopServing,
    UnsupportedMethodError,
)
from azmlinfsrv.inputs import Parse
from azmlinfsrv.messages import HTML, Request, Response
from azmlinfsrv.outputs import Started
from azmlinfsrv.script import Script, Style, user_stack, user_traceback

logger = logging.getLogger("azmlinfsrv")

_FAILURE = "Encountered Exception: %s\nRequest id: %s"

Call = Callable[[Callable[..., Any], dict[str, Any]], Any]
Context = Callable[[Request], AbstractContextManager[None]]
Tell = Callable[[BaseException, Request], None]


def _nothing() -> None:
    pass


class Scorer:
    """Turns a request into a response by calling the script's ``run()``.

    Args:
        script: the loaded script.
        parse: makes the arguments of ``run()``.
        context: what surrounds the call for scripts that use Flask, or None.
        tell: is told of each exception of the user's code, or None.
    """

    def __init__(self, script: Script, parse: Parse, context: Context | None, tell: Tell | None = None) -> None:
        self._tell = tell
        self._run = script.run
        self._parse = parse
        self._context = context
        self._bad_input = script.bad_input
        self._encode = script.encode
        self._typed = script.typed
        self._has_forms = script.style is Style.SCHEMA or script.typed is not None

    def score(self, request: Request, call: Call) -> Response:
        """Return the answer; called on a scoring thread, never raises an `Exception`.

        Args:
            request: the request.
            call: calls a function with keyword arguments, within the deadline.
        """
        try:
            if self._context is None:
                return self._score(request, call)
            with self._context(request):
                return self._score(request, call)
        except ServerError as error:
            return self.failure(request, error)
        except Exception as error:  # noqa: BLE001 - the border of the request
            return self._internal_error(request, error)

    def _score(self, request: Request, call: Call) -> Response:
        arguments = self._parse(request)
        started = time.perf_counter()
        try:
            result = call(self._run, arguments)
            if outputs.is_stream(result):
                result = call(_first_item, {"generator": result})
        except (RunError, StopServing):
            request.run_s = time.perf_counter() - started
            raise
        except BaseException as error:  # noqa: BLE001 - the border to user code
            request.run_s = time.perf_counter() - started
            return self.raised(request, error)
        return self.succeeded(request, result, time.perf_counter() - started)

    async def score_async(self, request: Request, timeout_ms: int, begin: Callable[[], None] = _nothing) -> Response:
        """Return the answer of a script with an ``async def run()``, in the running loop.

        Args:
            request: the request.
            timeout_ms: how long the call may take.
            begin: called just before the call.

        Raises:
            asyncio.CancelledError: the task was cancelled.
        """
        try:
            with self._context(request) if self._context else contextlib.nullcontext():
                arguments = self._parse(request)
                started = time.perf_counter()
                begin()
                try:
                    result = await call_async(self._run, arguments, timeout_ms, request.deadline)
                except RunError:
                    request.run_s = time.perf_counter() - started
                    raise
                except OddEndError as odd:
                    request.run_s = time.perf_counter() - started
                    return self.raised(request, odd.error)
                except Exception as error:  # noqa: BLE001 - the border to user code
                    request.run_s = time.perf_counter() - started
                    return self.raised(request, error)
                return self.succeeded(request, result, time.perf_counter() - started)
        except ServerError as error:
            return self.failure(request, error)
        except Exception as error:  # noqa: BLE001 - the border of the request
            return self._internal_error(request, error)

    def succeeded(self, request: Request, result: Any, elapsed_s: float) -> Response:
        """Return the response for what ``run()`` returned after so many seconds."""
        request.run_s = elapsed_s
        try:
            response = (
                outputs.stream_response(result) if isinstance(result, Started) else self._response(request, result)
            )
        except (TypeError, ValueError, RecursionError) as error:
            reason = f"{type(error).__name__}: {error}"
            logs.write(logger, logging.ERROR, _FAILURE, reason, logs.printable(request.ids.request_id))
            if self._tell is not None:
                self._tell(error, request)
            return _failed(ServerError(), error)
        response.exec_ms = elapsed_s * 1000
        return response

    def _response(self, request: Request, result: Any) -> Response:
        if self._has_forms and b"accept" in request.headers:
            response = outputs.binary_response(result, request.header(b"accept"))
            if response is not None:
                return response
        if self._typed is not None and not outputs.is_http_response(result):
            result = self._typed.plain(result)
            if self._typed.is_null(result):
                return outputs.json_response(200, b"null")
        if self._encode is not None:
            return outputs.json_response(200, self._encode(result))
        return outputs.result_response(result)

    def raised(self, request: Request, error: BaseException) -> Response:
        """Return the answer for what the user's code raised."""
        bad_input = self._bad_input(error)
        if bad_input is not None:
            return self.failure(request, bad_input)
        if _is_http_exception(error):
            return self._http_exception(request, error)
        self.log_error(error, request)
        return _failed(RunFailedError(), error)

    def failure(self, request: Request, error: ServerError) -> Response:
        """Return the answer for an error of ours; a deadline that passed is logged once, whoever notices first."""
        if isinstance(error, UnsupportedMethodError) and request.method == "OPTIONS":
            return Response(200, b"", [("Content-Type", HTML), (outputs.RUN_FAILED_HEADER, "False")])
        if isinstance(error, RunTimeoutError) and not request.timed_out:
            request.timed_out = True
            where = user_stack(error.__cause__) if error.__cause__ else ""
            allowed = "the caller's" if isinstance(error, CallerTimeoutError) else f"{error.timeout_ms}ms"
            reason = f"Script failed to finish execution within the allocated time: {allowed}"
            text, extra = f"{reason}\n{where}".rstrip("\n"), {logs.REQUEST: request}
            logs.write(logger, logging.ERROR, _FAILURE, text, logs.printable(request.ids.request_id), extra=extra)
            if self._tell is not None:
                self._tell(error, request)
        return outputs.error_response(error)

    def _http_exception(self, request: Request, error: Any) -> Response:
        """Return the status and message of an HTTP exception, as `flask.abort` raises it."""
        if (error.code or 500) >= 500:
            self.log_error(error, request)
        if error.response is not None:
            return outputs.http_response(error.response)
        answer = (
            RunFailedError(error.description or "") if (error.code or 500) >= 500 else ServerError(error.description)
        )
        answer.status = error.code or 500
        return outputs.error_response(answer)

    def _internal_error(self, request: Request, error: Exception) -> Response:
        """Return 500 for a result that JSON cannot hold, or a defect of ours; the log says which."""
        self.log_error(error, request)
        return _failed(ServerError(), error)

    def log_error(self, error: BaseException, request: Request) -> None:
        """Log an exception of the user's code with its traceback and the request id, and tell of it."""
        logs.write(logger, logging.ERROR, _FAILURE, user_traceback(error), logs.printable(request.ids.request_id))
        if self._tell is not None:
            self._tell(error, request)


def _failed(answer: ServerError, error: BaseException) -> Response:
    """Return the answer of a call that an exception ended, with its kind and text."""
    response = outputs.error_response(answer)
    response.error = traceback.format_exception_only(error)[-1].strip()
    return response


def _is_http_exception(error: BaseException) -> bool:
    exceptions = sys.modules.get("werkzeug.exceptions")
    return exceptions is not None and isinstance(error, exceptions.HTTPException)


def _first_item(generator: Generator[Any, None, None]) -> Started:
    return Started(next(generator, outputs.NO_ITEM), generator)
