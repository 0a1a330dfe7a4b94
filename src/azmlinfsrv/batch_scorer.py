"""A batch of requests through the user's ``run()``: what joins, the call, each request's result or error."""

from __future__ import annotations

import contextlib
import logging
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, NamedTuple

from azmlinfsrv import outputs
from azmlinfsrv.deadline import Done
from azmlinfsrv.decorated import ParameterConverter
from azmlinfsrv.errors import RunTimeoutError, ServerError, StopServing
from azmlinfsrv.inputs import Parse
from azmlinfsrv.messages import Request, Response
from azmlinfsrv.rows import BatchResultError, Joiner, ListJoiner, RowJoiner
from azmlinfsrv.scorer import Call, Scorer
from azmlinfsrv.script import Script, Style

logger = logging.getLogger("azmlinfsrv")

Around = Callable[[], AbstractContextManager[Any]]


class Member(NamedTuple):
    """A request that is ready for a batch.

    Attributes:
        request: the request.
        done: takes its response.
        arguments: its arguments of ``run()``, valid and converted.
        key: equal for those that can be part of the same batch.
        rows: number of its rows.
    """

    request: Request
    done: Done
    arguments: Mapping[str, Any]
    key: object
    rows: int


Answer = Callable[[Member, Response], None]
Enter = Callable[[Sequence[Member]], None]


class BatchScorer:
    """Turns requests into responses by calling ``run()`` with several of them.

    Args:
        script: the loaded script.
        parse: makes the arguments of ``run()`` for one request.
        scorer: makes the answers.
        around: what surrounds the calls for scripts that use Flask: no request, because there are several; or None.
        retries: whether ``run()`` is called for each request of a batch on which it raised.

    Attributes:
        scorer: makes the answers.
    """

    def __init__(
        self, script: Script, parse: Parse, scorer: Scorer, around: Around | None = None, *, retries: bool = True
    ) -> None:
        self.scorer = scorer
        self._run = script.run
        self._parse = parse
        self._around = around or contextlib.nullcontext
        self._retries = retries
        self._joiner: Joiner = ListJoiner() if script.style is Style.JSON_TEXT else RowJoiner()
        self._convert = ParameterConverter(script.run) if script.style is Style.SCHEMA else None

    def admit(self, request: Request, done: Done, call: Call) -> Member | Response:
        """Return the request, ready for a batch, or the answer to one that cannot be scored.

        Called on a scoring thread; never raises an `Exception`.
        """
        try:
            with self._around():
                arguments = self._parse(request)
                if self._convert is not None:
                    arguments = call(self._convert, {"arguments": arguments})
                    if not self._convert.is_complete(arguments):
                        return Member(request, done, arguments, object(), 1)
            return Member(request, done, arguments, *self._joiner.fit(arguments))
        except ServerError as error:
            return self.scorer.failure(request, error)
        except StopServing:
            raise
        except BaseException as error:  # noqa: BLE001 - the border to user code: validators and types may be the user's
            return self.scorer.raised(request, error)

    def score(self, batch: Sequence[Member], call: Call, enter: Enter, answer: Answer) -> None:
        """Answer all requests of a batch; called on a scoring thread, never raises an `Exception`.

        Args:
            batch: the requests.
            call: calls a function with keyword arguments, within the deadline.
            enter: says whose requests the calling thread works on.
            answer: takes the answer of a request.
        """
        enter(batch)
        started = time.perf_counter()
        try:
            with self._around():
                results = self._results(batch, call)
        except StopServing:
            raise
        except BaseException as error:  # noqa: BLE001 - the border to user code
            self._failed(batch, error, time.perf_counter() - started, call, enter, answer)
            return
        elapsed_s = time.perf_counter() - started
        responses = [
            self._response(member.request, result, elapsed_s) for member, result in zip(batch, results, strict=True)
        ]
        _count_once(batch)
        for member, response in zip(batch, responses, strict=True):
            answer(member, response)

    def _results(self, batch: Sequence[Member], call: Call) -> list[Any]:
        joiner = self._joiner
        if len(batch) == 1 and joiner.takes_single:
            result = call(self._run, dict(batch[0].arguments))
            results = [result]
        else:
            arguments = joiner.join([member.arguments for member in batch])
            result = call(self._run, arguments)
            results = None
        if outputs.is_stream(result):
            raise BatchResultError("run() returned a generator, which is not possible in batches")
        return results if results is not None else joiner.split(result, [member.rows for member in batch])

    def _response(self, request: Request, result: Any, elapsed_s: float) -> Response:
        """Return the answer for the result of one request; an exception among the results is that request's."""
        try:
            if isinstance(result, BaseException):
                request.run_s = elapsed_s
                return self.scorer.raised(request, result)
            return self.scorer.succeeded(request, result, elapsed_s)
        except ServerError as error:
            return self.scorer.failure(request, error)
        except Exception as error:  # noqa: BLE001 - the border of the request
            return self.scorer.raised(request, error)

    def _failed(
        self,
        batch: Sequence[Member],
        error: BaseException,
        elapsed_s: float,
        call: Call,
        enter: Enter,
        answer: Answer,
    ) -> None:
        """Answer the requests of a batch whose call failed: alone where that may help.

        A call that took too long is not repeated: each of its requests had its time. Nor is one that returned
        another number of results than it was given inputs, because it would do so again.
        """
        is_final = isinstance(error, RunTimeoutError) or (
            isinstance(error, BatchResultError) and not self._joiner.takes_single
        )
        if len(batch) > 1 and self._retries and not is_final:
            reason = traceback.format_exception_only(error)[-1].strip()
            logger.warning("run() failed for a batch of %d requests; each is scored alone: %s", len(batch), reason)
            for member in batch:
                self.score([member], call, enter, answer)
            return
        batch[0].request.run_s = elapsed_s
        for member in batch:
            answer(member, self._failure(member.request, error))

    def _failure(self, request: Request, error: BaseException) -> Response:
        if isinstance(error, ServerError):
            return self.scorer.failure(request, error)
        return self.scorer.raised(request, error)


def _count_once(batch: Sequence[Member]) -> None:
    """Leave the time of a call with the first of its requests: metrics add up how long ``run()`` worked."""
    for member in batch[1:]:
        member.request.run_s = 0.0
