"""The least that a server in Python can do: llhttp parses, uvloop reads and writes, the function is called inline."""

import asyncio
import json
import sys
from typing import Any

import httptools
import uvloop


def run(data: Any) -> dict[str, int]:
    """Answer the same always."""
    return {"ok": 1}


class Protocol(asyncio.Protocol):
    """One connection."""

    def connection_made(self, transport: Any) -> None:
        """Keep the transport."""
        self._transport = transport
        self._parser = httptools.HttpRequestParser(self)
        self._body = b""

    def data_received(self, data: bytes) -> None:
        """Feed the parser."""
        self._parser.feed_data(data)

    def on_body(self, body: bytes) -> None:
        """Collect the body."""
        self._body += body

    def on_message_complete(self) -> None:
        """Call the function and answer."""
        answer = json.dumps(run(json.loads(self._body) if self._body else None)).encode()
        self._body = b""
        head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(answer)
        self._transport.write(head + answer)


async def main(port: int) -> None:
    """Serve until the process is ended."""
    server = await asyncio.get_running_loop().create_server(Protocol, "127.0.0.1", port, backlog=2048)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1])))
