"""The table of HTTP/1.1 cases against the ASGI adapter under uvicorn: what the application answers for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.http import claims
from tests.http.runner import Address, run_case
from tests.http.servers import asgi_server
from tests.http.table import CASES

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.http.case import Case

pytestmark = pytest.mark.process


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Address]:
    """Address of the ASGI server."""
    with asgi_server(tmp_path_factory.mktemp("asgi")) as address:
        yield address


@pytest.mark.parametrize("case", [case for case in CASES if case.asgi], ids=lambda case: case.id)
def test_case(case: Case, address: Address) -> None:
    """The claim of the row holds."""
    run_case(case, address)


@pytest.mark.parametrize("target", ["/", "/score?size=1000", "/nowhere"])
def test_head_has_the_fields_of_get(target: str, address: Address) -> None:
    """HEAD is answered with the header fields of GET."""
    claims.check_head_has_the_fields_of_get(target, address)


def test_stream_is_not_held_back(address: Address, tmp_path: Path) -> None:
    """Each piece of a stream is sent when it is made."""
    claims.check_stream_is_not_held_back(address, tmp_path / "gate")


def test_survives_clients_that_leave(address: Address) -> None:
    """A client that resets its connection harms nobody else."""
    claims.check_survives_clients_that_leave(address)


def test_cut_off_body_is_not_scored(address: Address, tmp_path: Path) -> None:
    """The script never sees a body whose end did not come."""
    claims.check_cut_off_body_is_not_scored(address, tmp_path)
