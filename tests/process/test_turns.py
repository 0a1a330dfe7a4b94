"""Threads have their turns in the interpreter often enough for requests beside a `run()` that computes."""

from __future__ import annotations

import pytest

from tests.process.conftest import SharedServer

pytestmark = [pytest.mark.process, pytest.mark.timeout(120)]


@pytest.mark.parametrize(("chosen", "seconds"), [("", 0.001), ("0.02", 0.02)])
def test_turns(shared_server: SharedServer, chosen: str, seconds: float) -> None:
    """They come every millisecond, unless the script says otherwise."""
    server = shared_server("turns.py", env={"TURNS_S": chosen} if chosen else {})
    assert server.client.post("/score", content=b"").json() == pytest.approx(seconds)
