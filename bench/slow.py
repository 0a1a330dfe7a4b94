"""Slow clients: each sends a byte of a request every few seconds, half of them of its header block, half of its body.

A connection that the server closes, because the request takes too long, is made again. Prints a line once all of them
are connected, and another when one had to be made again; runs until it is told to stop.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import resource

HEADER = b"POST /score HTTP/1.1\r\nHost: localhost\r\nX-Slow: "
BODY = b"POST /score HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n\r\n"


class SlowClients:
    """So many of them.

    Args:
        port: where they connect to.
        count: how many there are.
        pause_s: time between two bytes of one of them.
    """

    def __init__(self, port: int, count: int, pause_s: float) -> None:
        self._port = port
        self._count = count
        self._pause_s = pause_s
        self._connected = 0
        self._ready = asyncio.Event()

    async def run(self) -> None:
        """Send until it is cancelled."""
        tasks = []
        for number in range(self._count):
            tasks.append(asyncio.create_task(self._send(number)))
            await asyncio.sleep(self._pause_s / self._count)  # spread, so that their bytes are too
        await self._ready.wait()
        print("ready", flush=True)
        await asyncio.gather(*tasks)

    async def _send(self, number: int) -> None:
        while True:
            with contextlib.suppress(OSError):
                await self._send_over_one(number)
            print("again", flush=True)

    async def _send_over_one(self, number: int) -> None:
        """Send until the server closes the connection.

        Raises:
            OSError: it did.
        """
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        try:
            writer.write(HEADER if number % 2 else BODY)
            self._connected += 1
            if self._connected == self._count:
                self._ready.set()
            while not reader.at_eof():
                await asyncio.sleep(self._pause_s)
                writer.write(b"a")
                await writer.drain()
        finally:
            writer.close()


def main() -> None:
    """Run them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("port", type=int)
    parser.add_argument("count", type=int)
    parser.add_argument("--pause", type=float, default=4.0, help="seconds between two bytes of a client")
    options = parser.parse_args()
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    asyncio.run(SlowClients(options.port, options.count, options.pause).run())


if __name__ == "__main__":
    main()
