"""Plays a case of the table against a server and checks what comes back."""

from __future__ import annotations

import datetime
import email.utils
import json
import re
import time

from tests.http.case import HEALTHY, After, Answers, Case, Expect, HalfClose, Quiet, Step, Trickle, Unread, Wait, get
from tests.http.wire import PATIENCE_S, Answer, Wire, WireError

Address = tuple[str, int]

# Less than the idle time, after which a connection ends of itself.
CLOSE_WITHIN_S = 3.0
_IMF_FIXDATE = re.compile(
    r"(Mon|Tue|Wed|Thu|Fri|Sat|Sun), \d\d (Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec) \d{4} "
    r"\d\d:\d\d:\d\d GMT"
)


def run_case(case: Case, address: Address) -> None:
    """Play `case` against `address`; an AssertionError says what was not as expected."""
    with Wire(address, narrow=case.narrow) as wire:
        try:
            _Play(case, wire).run()
        except AssertionError as error:
            raise AssertionError(f"{case.id} ({case.rfc}: {case.claim}): {error}") from None


class _Play:
    """One case being played."""

    def __init__(self, case: Case, wire: Wire) -> None:
        self._case = case
        self._wire = wire
        self._expected = list(case.expect)
        self._last: Answer | None = None
        self._sent_at = time.monotonic()

    def run(self) -> None:
        for step in self._case.steps:
            self._take(step)
        self._read(len(self._expected))
        if self._wire.fault:
            raise WireError(f"the connection broke: {self._wire.fault}")
        self._check_end()

    def _take(self, step: Step) -> None:
        match step:
            case bytes():
                self._sent_at = time.monotonic()
                self._wire.send(step)
            case Wait():
                self._wire.wait_bytes(step.byte_count)
            case Answers():
                self._read(step.count)
            case Quiet():
                self._wire.quiet(step.ms)
            case Trickle():
                self._wire.trickle(step.piece, step.ms)
            case Unread():
                time.sleep(step.ms / 1000)  # the client's slowness, which is what is tested
            case HalfClose():
                self._wire.half_close()

    def _read(self, count: int) -> None:
        for _ in range(count):
            expect = self._expected.pop(0)
            if self._case.may_be_silent and not self._expected and self._ended_silently():
                return
            answer = self._wire.read_answer(head=expect.head)
            while answer.status == 100 and self._case.extra_interim and 100 not in expect.statuses:
                answer = self._wire.read_answer(head=expect.head)
            check_answer(answer, expect, last=not self._expected, http_minor=self._case.http_minor)
            self._last = answer

    def _ended_silently(self) -> bool:
        wire = self._wire
        while not wire.buffer and not wire.ended:
            wire.wait_end(0.05)
        return wire.ended and not wire.buffer

    def _check_end(self) -> None:
        said_close = self._last is not None and "close" in self._last.tokens("connection")
        after = self._case.after
        if after is After.EITHER:
            after = After.ENDED if said_close or self._wire.ended else After.OPEN
        if after is After.OPEN:
            assert not said_close, "the answer says `Connection: close`, the connection should stay open"
            _check_open(self._wire)
        else:
            self._check_closed(said_close)

    def _check_closed(self, said_close: bool) -> None:
        wire, ends_after_ms = self._wire, self._case.ends_after_ms
        ended = wire.wait_end(CLOSE_WITHIN_S if ends_after_ms is None else PATIENCE_S)
        assert not wire.buffer, f"bytes after the last answer: {bytes(wire.buffer[:300])!r}"
        assert ended, "the connection is still open"
        assert not wire.fault, f"the connection broke: {wire.fault}"
        if ends_after_ms is not None:
            took_ms = round((time.monotonic() - self._sent_at) * 1000)
            assert took_ms >= ends_after_ms, f"ended after {took_ms} ms, not {ends_after_ms}"
        if self._case.after is After.CLOSED and self._case.http_minor == 1 and self._last:
            assert said_close, f"closed without `Connection: close`: {self._last.headers}"


def _check_open(wire: Wire) -> None:
    assert not wire.buffer, f"bytes after the last answer: {bytes(wire.buffer[:300])!r}"
    wire.send(get("/", "Connection: close"))
    check_answer(wire.read_answer(), HEALTHY, last=True)
    assert wire.wait_end(CLOSE_WITHIN_S), "`Connection: close` after the case did not close"
    assert not wire.fault, f"the connection broke: {wire.fault}"


def check_answer(answer: Answer, expect: Expect, *, last: bool, http_minor: int = 1) -> None:
    """Check one answer against what is expected of it and against what holds for every answer."""
    got = f"{answer.status} {answer.headers} {answer.body[:200]!r}"
    assert answer.status in expect.statuses, f"expected status {expect.statuses}, got {got}"
    _check_rules(answer, expect, 1 if not last else http_minor)
    assert answer.complete == expect.complete, f"complete is {answer.complete}: {got}"
    if expect.framing:
        assert answer.framing == expect.framing, f"framed by {answer.framing}, not {expect.framing}: {got}"
    if expect.body is not None:
        assert answer.body == expect.body if not expect.head else not answer.body, f"body of {got}"
    if expect.fields and not expect.head:
        facts = json.loads(answer.body)
        for name, value in expect.fields.items():
            assert facts.get(name) == value, f"{name} should be {value!r}: {got}"
    for name, value in expect.headers.items():
        values = [item.lower() for item in answer.values(name)]
        present = bool(values) if value == "*" else value.lower() in values
        assert present, f"{name} should be {value}: {got}"
    for name in expect.without:
        assert not answer.values(name), f"{name} should not be there: {got}"


def _check_rules(answer: Answer, expect: Expect, http_minor: int) -> None:
    """Check what RFC 9110, RFC 9112 and the server's contract say of every answer."""
    headers = str(answer.headers)
    lengths, codings = answer.values("content-length"), answer.values("transfer-encoding")
    assert not (lengths and codings), f"Content-Length beside Transfer-Encoding (9112 6.2): {headers}"
    assert len(lengths) <= 1, f"Content-Length twice (9110 8.6): {headers}"
    if answer.status < 200 or answer.status == 204:
        assert not lengths + codings, f"framing of a message without body (9110 8.6): {headers}"
    if answer.status < 200:
        return
    if http_minor == 0:
        assert not codings, f"Transfer-Encoding to a client of 1.0 (9112 6.1): {headers}"
    _check_date(answer)
    assert len(answer.values("x-request-id")) == 1, f"x-request-id once: {headers}"
    assert len(answer.values("content-type")) <= 1, f"Content-Type twice: {headers}"
    if answer.status >= 400 and not expect.head:
        assert answer.values("content-type") == ["application/json"], f"an error is JSON: {headers}"
        message = json.loads(answer.body).get("message")
        assert isinstance(message, str), f"no message: {answer.body[:200]!r}"
        assert message, "an empty message"


def _check_date(answer: Answer) -> None:
    dates = answer.values("date")
    assert len(dates) == 1, f"Date (9110 6.6.1): {dates}"
    assert _IMF_FIXDATE.fullmatch(dates[0]), f"Date (9110 6.6.1): {dates}"
    age = datetime.datetime.now(datetime.timezone.utc) - email.utils.parsedate_to_datetime(dates[0])
    assert abs(age.total_seconds()) < 60, f"Date is off by {age}"
