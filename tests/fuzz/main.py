"""The long run: `scripts/fuzz` calls it, and it writes what it found as rows of a table."""

from __future__ import annotations

import argparse
import logging
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from tests.fuzz import session


def _statuses(seen: Counter[int]) -> str:
    return ", ".join(f"{status or 'none'}: {count}" for status, count in sorted(seen.items()))


def _row(what: str, count: int, play: Callable[[], str]) -> None:
    """Write a row; what must not be ends the run with its request."""
    began = time.monotonic()
    found = play()
    sys.stdout.write(f"| {what} | {count:,} | {time.monotonic() - began:.0f} s | {found} |\n")
    sys.stdout.flush()


def _against_server(seed: int, count: int, folder: Path) -> str:
    seen, before, after = session.fuzz_server(seed, count, folder)
    held = f"{before.descriptors} to {after.descriptors} descriptors"
    return f"{_statuses(seen)}; {held}, {before.memory_bytes >> 20} to {after.memory_bytes >> 20} MiB"


def _between(nginx: str, seed: int, count: int, folder: Path) -> str:
    compared = session.fuzz_between(nginx, seed, count, folder)
    return f"nginx passed {compared.passed_on} on; answered by the server and logged: {_statuses(compared.taken)}"


def main() -> None:
    """Play requests in memory, against a server and through nginx."""
    parser = argparse.ArgumentParser(prog="scripts/fuzz", description=__doc__)
    parser.add_argument("--seed", type=int, default=1, help="of the mutations; another one makes other requests")
    parser.add_argument("--memory", type=int, default=200_000, help="requests against the protocol in memory")
    parser.add_argument("--server", type=int, default=100_000, help="requests against a real server")
    parser.add_argument("--nginx", type=int, default=20_000, help="requests through nginx, if it is installed")
    asked = parser.parse_args()
    logging.getLogger("azmlinfsrv").setLevel(logging.ERROR)
    sys.stdout.write("| what | requests | time | answers |\n| --- | --- | --- | --- |\n")
    _row("in memory", asked.memory, lambda: _statuses(session.fuzz_memory(asked.seed, asked.memory)))
    nginx = shutil.which("nginx", path="/usr/local/sbin:/usr/sbin:/usr/bin:/usr/local/bin")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder)
        (path / "server").mkdir()
        (path / "nginx").mkdir()
        path.chmod(0o755)
        _row("a server", asked.server, lambda: _against_server(asked.seed, asked.server, path / "server"))
        if nginx is not None:
            _row("through nginx", asked.nginx, lambda: _between(nginx, asked.seed, asked.nginx, path / "nginx"))


if __name__ == "__main__":
    main()
