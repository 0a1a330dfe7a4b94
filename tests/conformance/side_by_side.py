"""Run a server block on both sides at the same time, once, and keep what was seen."""

from __future__ import annotations

import shutil
import tempfile
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from tests.ports import ReservedPort

from .cases import ServerBlock
from .compare import Item, compare_exchange, compare_process
from .normalise import Normaliser
from .process import Observation, ServerProcess

if TYPE_CHECKING:
    from typing_extensions import Self

SIDES = ("release", "current")  # names of the same length, so that lengths of texts with paths agree


class SideBySide:
    """Both servers on the same cases. Each block is started once; its results are kept.

    Blocks that were announced run ahead in threads of their own, while earlier results are looked at.
    Use it as a context manager: leaving it waits for the servers that still run and starts no more.

    Args:
        release: Command that starts the released server.
        current: Command that starts this project's.
        at_once: How many blocks run at the same time.
    """

    def __init__(self, release: list[str], current: list[str], at_once: int = 1) -> None:
        self._commands = {"release": release, "current": current}
        self._pool = ThreadPoolExecutor(at_once)
        self._kept: dict[str, Future[dict[str, list[Item]]]] = {}

    def __enter__(self) -> Self:
        """Give the comparison."""
        return self

    def __exit__(self, *_: object) -> None:
        """Start no more servers, and wait for those that run."""
        self._pool.shutdown(cancel_futures=True)

    def announce(self, block: ServerBlock) -> None:
        """Run a block when its turn comes."""
        if block.id not in self._kept:
            self._kept[block.id] = self._pool.submit(self._run, block)

    def differences(self, block: ServerBlock) -> dict[str, list[Item]]:
        """What differs in each case of a block, by case id; an empty list means equal."""
        self.announce(block)
        return self._kept[block.id].result()

    def _run(self, block: ServerBlock) -> dict[str, list[Item]]:
        folder = Path(tempfile.mkdtemp(prefix="cf-"))
        try:
            with ThreadPoolExecutor(len(SIDES)) as pool:
                futures = [pool.submit(self._observe, block, side, folder / side) for side in SIDES]
                release, current = (future.result() for future in futures)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        return compare_block(block, release, current)

    def _observe(self, block: ServerBlock, side: str, root: Path) -> Observation:
        root.mkdir(parents=True)
        with (
            ReservedPort() as port,
            ReservedPort() as health,
            ServerProcess(self._commands[side], block, root, (port, health)) as server,
        ):
            return server.run()


def compare_block(block: ServerBlock, release: Observation, current: Observation) -> dict[str, list[Item]]:
    """Compare what the two sides showed, case by case."""
    names = Normaliser(release.root, release.ports), Normaliser(current.root, current.ports)
    found = {f"{block.id}/process": compare_process(release, current, names, block.unordered)}
    for request in block.requests:
        pair = release.exchanges.get(request.id), current.exchanges.get(request.id)
        found[f"{block.id}/{request.id}"] = compare_exchange(pair, names, request)
    return found
