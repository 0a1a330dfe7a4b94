"""Plays mutated requests against a real server, from many connections at once."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

from tests.fuzz.judging import JudgementError, judge
from tests.fuzz.mutation import Mutator

if TYPE_CHECKING:
    import psutil

# A connection that has neither answered nor ended after this long hangs.
HANG_S = 30.0
_AT_ONCE = 32


class Usage(NamedTuple):
    """What the processes of a server hold.

    Attributes:
        descriptors: open files and sockets.
        memory_bytes: resident memory.
    """

    descriptors: int
    memory_bytes: int


def usage(processes: list[psutil.Process]) -> Usage:
    """Return what these processes hold."""
    return Usage(sum(each.num_fds() for each in processes), sum(each.memory_info().rss for each in processes))


def play(address: tuple[str, int], mutator: Mutator, count: int) -> Counter[int]:
    """Play requests and return how often each status was answered; 0 is a connection that ended without an answer.

    Raises:
        JudgementError: an answer must not be, or a connection hangs.
    """
    return asyncio.run(_play(address, mutator, count))


async def _play(address: tuple[str, int], mutator: Mutator, count: int) -> Counter[int]:
    seen: Counter[int] = Counter()
    left = count

    async def client() -> None:
        nonlocal left
        while left > 0:
            left -= 1
            pieces = mutator.pieces(mutator.make())
            seen.update(await _exchange(address, pieces) or [0])

    clients = [asyncio.ensure_future(client()) for _ in range(min(_AT_ONCE, count))]
    try:
        await asyncio.gather(*clients)
    finally:
        for each in clients:
            each.cancel()
        await asyncio.wait(clients)
    return seen


async def _exchange(address: tuple[str, int], pieces: list[bytes]) -> list[int]:
    """Send pieces and then the end; return the statuses that were answered before the server's end."""
    reader, writer = await asyncio.open_connection(*address)
    received = b""
    try:
        with contextlib.suppress(ConnectionError):
            for piece in pieces:
                writer.write(piece)
                await writer.drain()
                if len(pieces) > 1:
                    await asyncio.sleep(0)
            writer.write_eof()
        received = await asyncio.wait_for(_read(reader), HANG_S)
        return judge(received)
    except asyncio.TimeoutError:
        raise JudgementError(f"no end within {HANG_S} s for {pieces!r}") from None
    except JudgementError as error:
        raise JudgementError(f"{error} for {pieces!r}") from None
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


async def _read(reader: asyncio.StreamReader) -> bytes:
    received = b""
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(65536):
            received += data
    return received
