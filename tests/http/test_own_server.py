"""The table of HTTP/1.1 cases against the server's own protocol class, in a real process."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
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

pytestmark = pytest.mark.process

TIMED = tuple(case for case in CASES if case.ends_after_ms is not None)
UNTIMED = tuple(case for case in CASES if case.ends_after_ms is None)


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Address]:
    """Address of the server under test."""
    with own_server(tmp_path_factory.mktemp("server")) as address:
        yield address


@pytest.fixture(scope="module")
def played(address: Address) -> Iterator[dict[str, Future[None]]]:
    """The cases that wait for a timeout, played at the same time; by name."""
    with ThreadPoolExecutor(len(TIMED)) as pool:
        yield {case.id: pool.submit(run_case, case, address) for case in TIMED}


@pytest.mark.parametrize("case", UNTIMED, ids=lambda case: case.id)
def test_case(case: Case, address: Address) -> None:
    """The claim of the row holds."""
    run_case(case, address)


@pytest.mark.parametrize("case", TIMED, ids=lambda case: case.id)
def test_timeout(case: Case, played: dict[str, Future[None]]) -> None:
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


def test_lingering_after_413_ends(address: Address) -> None:
    """A client that sends for ever after its 413 is cut off."""
    request = lines("POST /score HTTP/1.1", "Host: t", f"Content-Length: {MAX_BODY_BYTES * 1000}")
    claims.check_lingering_ends(address, request, b"413")


def test_lingering_after_431_ends(address: Address) -> None:
    """A client that sends for ever after its 431 is cut off."""
    request = b"GET / HTTP/1.1\r\nHost: t\r\nX-Big: " + b"x" * (MAX_HEADER_BYTES + 1000)
    claims.check_lingering_ends(address, request, b"431")


@pytest.mark.parametrize("fields", [(), ("Connection: close",)], ids=["keep-alive", "close"])
def test_write_timeout(fields: tuple[str, ...], address: Address) -> None:
    """A client that does not read its answer is cut off, also from the last answer of its connection."""
    claims.check_write_timeout(address, WRITE_TIMEOUT_MS / 1000, *fields)


@pytest.mark.parametrize("fields", [(), ("Connection: close",)], ids=["keep-alive", "close"])
def test_slow_reader_is_served(fields: tuple[str, ...], address: Address) -> None:
    """A client that takes three times the write timeout for its answer, always reading, is not cut off."""
    claims.check_slow_reader_is_served(address, 12_000_000, 4_000_000 * 1000 // WRITE_TIMEOUT_MS, *fields)


def test_cut_off_body_is_not_scored(address: Address, tmp_path: Path) -> None:
    """The script never sees a body whose end did not come."""
    claims.check_cut_off_body_is_not_scored(address, tmp_path)
