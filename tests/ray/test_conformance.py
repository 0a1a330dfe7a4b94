"""The conformance cases of `/score` against the released server, with Ray in the place of our own process.

What a client sees is compared; what a process writes and how it is started is Ray's. What differs from our own server
is in `excepted.toml`, with the reason, but for three things that are so for every request: the proxy spells the reason
of a status in its own way, and gives a request that has no id one before the script sees it; and a replica's working
directory and main thread are Ray's.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest

from tests.conformance.cases import Request, ServerBlock, load_blocks
from tests.conformance.compare import Item
from tests.conformance.differences import load_differences, unlisted
from tests.conformance.release import release_command
from tests.conformance.side_by_side import SideBySide
from tests.ray.cluster import Cluster, application

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

pytestmark = [pytest.mark.ray, pytest.mark.timeout(300)]

HERE = Path(__file__).parent
EXCEPTED: list[Mapping[str, Any]] = tomllib.loads((HERE / "excepted.toml").read_text("utf-8"))["excepted"]


def is_about_score(request: Request) -> bool:
    """Whether a request of a case is one to `/score`."""
    return request.path.partition("?")[0] == "/score"


def is_left_out(case_id: str) -> bool:
    """Whether a case cannot be tried under Ray."""
    return any("aspects" not in each and is_among(case_id, each) for each in EXCEPTED)


def is_among(case_id: str, table: Mapping[str, Any]) -> bool:
    """Whether an entry of the list is about a case."""
    return any(fnmatchcase(case_id, pattern) for pattern in table["cases"])


def is_excepted(case_id: str, item: Item) -> bool:
    """Whether a difference is one of Ray's."""
    return any(
        is_among(case_id, each) and any(fnmatchcase(item.aspect, pattern) for pattern in each.get("aspects", ()))
        for each in EXCEPTED
    )


def without_ray(item: Item) -> Item:
    """Return a difference without what Ray does to every request."""
    if item.aspect == "body" and item.release is not None and item.current is not None:
        item = replace(item, release=_PROCESS.sub("", item.release), current=_PROCESS.sub("", item.current))
    if item.aspect == "reason" and item.current is not None:
        return replace(item, current=item.current.upper().replace("-", " "))
    if item.aspect == "body" and item.current is not None and item.release == _GIVEN_ID.sub("", item.current):
        return replace(item, current=item.release)
    return item


# What scripts of the cases say of their process.
_PROCESS = re.compile(r'"cwd": "[^"]*", "main_thread": (true|false)')
# The field, as scripts of the cases write down what they see: in a mapping, among pairs, or its name.
_GIVEN_ID = re.compile(
    r'"X-Request-Id": "<id \d>", |, "X-Request-Id": "<id \d>"|"X-Request-Id": "<id \d>"'
    r'|\["X-Request-Id", "<id \d>"\], |(, )?\["X-Request-Id", "<id \d>"\]|, "X-Request-Id"(?!:)',
    re.IGNORECASE,
)

CASES: dict[str, ServerBlock] = {
    f"{block.id}/{request.id}": block
    for block in load_blocks()
    if block.ends == "ready" and not block.occupied
    for request in block.requests
    if is_about_score(request) and not is_left_out(f"{block.id}/{request.id}")
}


@pytest.fixture(scope="module")
def side_by_side(cluster: Cluster) -> Iterator[SideBySide]:
    """The released server, and the cluster, whose first application takes longer than a server may."""
    cluster.deploy(application("first", entry_script=str(HERE / "scripts" / "facts.py")))
    cluster.wait_running("first")
    cluster.remove("first")
    logs = next(cluster.folder.glob("ray/session_*/logs"))
    program = [sys.executable, str(HERE / "serve_one.py"), cluster.dashboard, str(cluster.port), str(logs)]
    with SideBySide(release_command(), program) as both:
        yield both


@pytest.mark.parametrize("case_id", sorted(CASES))
def test_case(case_id: str, side_by_side: SideBySide) -> None:
    """What a client sees is what it sees of the released server, or is listed."""
    found = map(without_ray, side_by_side.differences(CASES[case_id])[case_id])
    items = [item for item in found if item.aspect not in ("stdout", "stderr") and item.release != item.current]
    seen = [item for item in unlisted(case_id, items, load_differences()) if not is_excepted(case_id, item)]
    assert not seen, "\n".join(map(str, seen))
