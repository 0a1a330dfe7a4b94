"""Mutated requests, a short run with the same seed each time; `scripts/fuzz` makes the long one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.conftest import RequireProgram
from tests.fuzz import between, session
from tests.fuzz.corpus import seeds
from tests.fuzz.judging import JudgementError, judge
from tests.fuzz.mutation import Mutator

SEED = 1


def test_the_same_seed_makes_the_same_requests() -> None:
    """A run can be repeated by its seed, and another seed makes another run."""
    first, again, other = (Mutator(seeds(), seed) for seed in (SEED, SEED, SEED + 1))
    made = [first.make() for _ in range(50)]
    assert made == [again.make() for _ in range(50)]
    assert made != [other.make() for _ in range(50)]


def test_in_memory() -> None:
    """The protocol answers or refuses whatever arrives, and no connection stays for ever."""
    seen = session.fuzz_memory(SEED, 4000)
    assert min(seen[200], seen[400], seen[404], seen[413], seen[431], seen[501]) > 0


@pytest.mark.process
@pytest.mark.timeout(120)
def test_against_a_server(tmp_path: Path) -> None:
    """A real server does so too, and holds no more descriptors or memory at the end."""
    seen, _, _ = session.fuzz_server(SEED, 1500, tmp_path)
    assert min(seen[200], seen[400]) > 0


@pytest.mark.process
@pytest.mark.timeout(120)
def test_behind_nginx(tmp_path: Path, require_program: RequireProgram) -> None:
    """Nginx and the server agree about where requests end: the server sees none that nginx did not pass on."""
    compared = session.fuzz_between(require_program("nginx"), SEED, 500, tmp_path)
    assert compared.passed_on > 0 and compared.taken[200] > 0


# -- that the judges see what they are there for -------------------------------------------------------------------

GOOD = b'HTTP/1.1 400 BAD REQUEST\r\nContent-Length: 15\r\n\r\n{"message":"a"}'


@pytest.mark.parametrize(
    "received",
    [
        b"HTTP/1.1 500 X\r\nContent-Length: 2\r\n\r\n{}",
        GOOD[:-1],
        GOOD.replace(b"message", b"problem"),
        GOOD.replace(b'{"message":"a"}', b"not JSON at all"),
        GOOD.replace(b'"a"', b'"Traceback"').replace(b"15", b"23"),
        GOOD.replace(b"\r\nContent", b"\nContent"),
        GOOD + b"\r\n",
        b"HTTP/1.1 200 OK\r\nX: a\x1bb\r\nContent-Length: 0\r\n\r\n",
    ],
)
def test_what_is_judged_wrong(received: bytes) -> None:
    """Faults, broken answers, errors that are no JSON and leaks are seen."""
    assert judge(GOOD + GOOD) == [400, 400]
    with pytest.raises(JudgementError):
        judge(received)


@pytest.mark.parametrize("taken", [["a", "b", "smuggled"], ["a", "a"]], ids=["not passed on", "twice"])
def test_what_is_smuggled_is_seen(tmp_path: Path, taken: list[str]) -> None:
    """A request that nginx did not pass on is found, and so is one that came twice."""
    (tmp_path / "ids.log").write_text("a 200\nb 200\nc -\n")

    def log(identities: list[str]) -> str:
        lines = [
            {"logger": "gunicorn.access", "path": "/score", "request_id": each, "status": 200} for each in identities
        ]
        return "\n".join(["not JSON", *map(json.dumps, lines)])

    assert between.compare(tmp_path, log(["a", "b"])).taken[200] == 2
    with pytest.raises(JudgementError):
        between.compare(tmp_path, log(taken))
