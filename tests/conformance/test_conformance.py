"""Every case on both servers: equal, or different as the reviewed list says."""

from __future__ import annotations

import os

import pytest

from tests.conftest import CONFORMANCE, Record

from .cases import ServerBlock, load_blocks
from .differences import Difference, load_differences, unlisted
from .release import COMMAND_VARIABLE
from .side_by_side import SideBySide

pytestmark = [pytest.mark.conformance, pytest.mark.long, pytest.mark.timeout(1200)]

BLOCKS = {case_id: block for block in load_blocks() for case_id in block.case_ids}
DIFFERENCES = {difference.id: difference for difference in load_differences()}


@pytest.mark.parametrize("case_id", BLOCKS)
def test_case_is_equal_or_differs_as_listed(
    case_id: str, side_by_side: SideBySide, differences: list[Difference], record_property: Record
) -> None:
    """What a client, a log reader and a script see is what they see of the released server, or is listed."""
    items = side_by_side.differences(BLOCKS[case_id])[case_id]
    unexpected = unlisted(case_id, items, differences)
    record_property(CONFORMANCE, "unlisted" if unexpected else "intended" if items else "equal")
    assert not unexpected, "\n".join(["not listed in differences.toml:", *map(str, unexpected)])


@pytest.mark.parametrize("difference_id", DIFFERENCES)
def test_listed_difference_still_differs(difference_id: str, side_by_side: SideBySide) -> None:
    """A difference is listed only as long as one of its cases shows it."""
    if os.environ.get(COMMAND_VARIABLE) == "release":
        pytest.skip("the release is compared with itself")
    difference = DIFFERENCES[difference_id]
    blocks: dict[str, ServerBlock] = {
        block.id: block for case_id, block in BLOCKS.items() if difference.is_about(case_id)
    }
    found = any(
        difference.covers(case_id, item)
        for block in blocks.values()
        for case_id, items in side_by_side.differences(block).items()
        for item in items
    )
    assert found, f"{difference_id} differs in none of its cases any more: remove it from differences.toml"
