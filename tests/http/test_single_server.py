"""The cases that depend on the event loop, against a single process on the standard asyncio loop."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.http import cases_connection, cases_expect, cases_limits, cases_pipelining, cases_responses, claims
from tests.http.runner import Address, run_case
from tests.http.servers import own_server

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.http.case import Case

pytestmark = pytest.mark.process

CASES = (
    *cases_connection.CASES,
    *cases_expect.CASES,
    *cases_pipelining.CASES,
    *cases_responses.CASES,
    *cases_limits.BODIES,
    *cases_limits.PIPELINES,
)


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Address]:
    """Address of the server under test."""
    with own_server(tmp_path_factory.mktemp("single"), "--hosting", "single") as address:
        yield address


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_case(case: Case, address: Address) -> None:
    """The claim of the row holds."""
    run_case(case, address)


def test_stream_is_not_held_back(address: Address, tmp_path: Path) -> None:
    """Each piece of a stream is sent when it is made."""
    claims.check_stream_is_not_held_back(address, tmp_path / "gate")


def test_survives_clients_that_leave(address: Address) -> None:
    """A client that resets its connection harms nobody else."""
    claims.check_survives_clients_that_leave(address)
