"""Plays mutated requests against the protocol in memory: no socket, no clock, no thread."""

from __future__ import annotations

from collections import Counter

from azmlinfsrv.messages import Response
from tests.fuzz.judging import JudgementError, judge
from tests.fuzz.mutation import Mutator
from tests.unit.http_fakes import LIMITS, FakeConnection

_ANSWER = b'{"answer": 1}'


def play(mutator: Mutator, count: int) -> Counter[int]:
    """Play requests and return how often each status was answered.

    Raises:
        JudgementError: an answer must not be, or a connection hangs; it tells the request.
    """
    seen: Counter[int] = Counter()
    for _ in range(count):
        data = mutator.make()
        pieces = mutator.pieces(data)
        try:
            seen.update(_play_one(pieces, answers_late=mutator.random.random() < 0.3))
        except Exception as error:
            raise JudgementError(f"{error!r} for {pieces!r}") from error
    return seen


def _play_one(pieces: list[bytes], *, answers_late: bool) -> list[int]:
    connection = FakeConnection(LIMITS._replace(body_bytes=10_000))
    _send(connection, list(pieces), answers_late=answers_late)
    transport = connection.transport
    if not transport.is_closing():
        connection.half_close()
        _answer(connection)
    # Whatever was sent, the connection has ended by the time that every timeout has passed.
    for _ in range(3):
        if not transport.is_closing():
            connection.pass_time(sum(LIMITS[2:]))
    if not transport.is_closing():
        raise JudgementError("the connection stays open")
    connection.protocol.connection_lost(None)
    if connection.shared.open:
        raise JudgementError("the connection is not forgotten")
    return judge(bytes(transport.written))


def _send(connection: FakeConnection, waiting: list[bytes], *, answers_late: bool) -> None:
    """Have the pieces arrive as the connection takes them, and the script answer each at once, or when it must."""
    transport = connection.transport
    while waiting and not transport.is_closing():
        if transport.is_reading():
            connection.protocol.data_received(waiting.pop(0))
            if answers_late and waiting and transport.is_reading():
                continue
        elif not connection.script.submitted:
            raise JudgementError("nothing is read, and nothing is to be answered")
        _answer(connection)


def _answer(connection: FakeConnection) -> None:
    while connection.script.submitted:
        connection.script.answer(Response(200, _ANSWER, [("Content-Type", "application/json")]))
