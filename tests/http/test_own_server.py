"""The table of HTTP/1.1 cases against the server's own protocol class, in a real process."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING

import pytest

from tests.http import claims
from tests.http.case import MAX_BODY_BYTES, MAX_HEADER_BYTES, WRITE_TIMEOUT_MS, Case, lines
from tests.http.runner import Address, run_case
from tests.http.servers import own_server
from tests.http.table import CASES

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = [pytest.mark.long, pytest.mark.process]

TIMED = tuple(case for case in CASES if case.ends_after_ms is not None)
UNTIMED = tuple(case for case in CASES if case.ends_after_ms is None)
LAST: dict[str, tuple[str, ...]] = {"keep-alive": (), "close": ("Connection: close",)}
# The claims that take seconds, by name.
LONG: dict[str, Callable[[Address], None]] = {
    "lingering-413": partial(
        claims.check_lingering_ends,
        oversized=lines("POST /score HTTP/1.1", "Host: t", f"Content-Length: {MAX_BODY_BYTES * 1000}"),
        status=b"413",
    ),
    "lingering-431": partial(
        claims.check_lingering_ends,
        oversized=b"GET / HTTP/1.1\r\nHost: t\r\nX-Big: " + b"x" * (MAX_HEADER_BYTES + 1000),
        status=b"431",
    ),
    **{
        f"write-timeout-{last}": partial(
            claims.check_write_timeout, timeout_s=WRITE_TIMEOUT_MS / 1000, fields=LAST[last]
        )
        for last in LAST
    },
    **{
        f"slow-reader-{last}": partial(
            claims.check_slow_reader_is_served,
            size=12_000_000,
            bytes_a_second=4_000_000 * 1000 // WRITE_TIMEOUT_MS,
            fields=LAST[last],
        )
        for last in LAST
    },
}
Played = dict[str, Future[None]]


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Address]:
    """Address of the server under test."""
    with own_server(tmp_path_factory.mktemp("server")) as address:
        yield address


@pytest.fixture(scope="module")
def played(address: Address) -> Iterator[Played]:
    """The cases that wait for a timeout, and the claims that take long, played at the same time; by name."""
    with ThreadPoolExecutor(len(TIMED) + len(LONG)) as pool:
        cases = {case.id: pool.submit(run_case, case, address) for case in TIMED}
        yield cases | {name: pool.submit(claim, address) for name, claim in LONG.items()}


@pytest.mark.parametrize("case", UNTIMED, ids=lambda case: case.id)
def test_case(case: Case, address: Address) -> None:
    """The claim of the row holds."""
    run_case(case, address)


@pytest.mark.parametrize("case", TIMED, ids=lambda case: case.id)
def test_timeout(case: Case, played: Played) -> None:
    """The claim of the row holds, and the connection ends, not before its time."""
    played[case.id].result()


@pytest.mark.parametrize("name", claims.SPLIT_REQUESTS)
def test_split_anywhere(name: str, address: Address) -> None:
    """A request of two pieces is the same request, wherever it is cut."""
    claims.check_split_anywhere(name, address)


@pytest.mark.parametrize("name", claims.SPLIT_REQUESTS)
def test_byte_by_byte(name: str, address: Address) -> None:
    """A request of as many pieces as it has bytes is the same request."""
    claims.check_byte_by_byte(name, address)


@pytest.mark.parametrize("target", ["/", "/score?size=1000", "/score?stream=1", "/nowhere"])
def test_head_has_the_fields_of_get(target: str, address: Address) -> None:
    """HEAD is answered with the header fields of GET."""
    claims.check_head_has_the_fields_of_get(target, address)


def test_stream_is_not_held_back(address: Address, tmp_path: Path) -> None:
    """Each piece of a stream is sent when it is made."""
    claims.check_stream_is_not_held_back(address, tmp_path / "gate")


def test_survives_clients_that_leave(address: Address) -> None:
    """A client that resets its connection harms nobody else."""
    claims.check_survives_clients_that_leave(address)


def test_lingering_after_413_ends(played: Played) -> None:
    """A client that sends for ever after its 413 is cut off."""
    played["lingering-413"].result()


def test_lingering_after_431_ends(played: Played) -> None:
    """A client that sends for ever after its 431 is cut off."""
    played["lingering-431"].result()


@pytest.mark.parametrize("last", LAST)
def test_write_timeout(last: str, played: Played) -> None:
    """A client that does not read its answer is cut off, also from the last answer of its connection."""
    played[f"write-timeout-{last}"].result()


@pytest.mark.parametrize("last", LAST)
def test_slow_reader_is_served(last: str, played: Played) -> None:
    """A client that takes three times the write timeout for its answer, always reading, is not cut off."""
    played[f"slow-reader-{last}"].result()


def test_cut_off_body_is_not_scored(address: Address, tmp_path: Path) -> None:
    """The script never sees a body whose end did not come."""
    claims.check_cut_off_body_is_not_scored(address, tmp_path)
