"""Plays mutated requests through nginx, and compares what nginx passed on with what the server took for requests.

nginx gives each request that it passes on an id of its own, whatever the client sent. A request that the server sees
without one of these, or twice, has been smuggled: the two disagree about where a request ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from tests.fuzz.judging import JudgementError
from tests.fuzz.mutation import Mutator

# How long a client waits for more: what nginx waits for itself is never sent.
_QUIET_S = 0.15
_AT_ONCE = 48

_CONFIGURATION = """
daemon off; worker_processes 1; pid nginx.pid; error_log error.log crit;
events {{ worker_connections 1024; }}
http {{
    log_format ids '$request_id $upstream_status';
    access_log ids.log ids;
    client_body_temp_path body; proxy_temp_path answer;
    fastcgi_temp_path f; uwsgi_temp_path u; scgi_temp_path s;
    upstream scoring {{ server {upstream}; keepalive 4; }}
    proxy_http_version 1.1;
    proxy_set_header Connection "";
    proxy_set_header X-Request-Id $request_id;
    proxy_set_header x-ms-request-id "";
    proxy_set_header x-ms-client-request-id "";
    proxy_ignore_client_abort on;
    underscores_in_headers on;
    client_max_body_size 1m; client_header_timeout 1s; client_body_timeout 1s; send_timeout 1s;
    server {{ listen {buffering}; location / {{ proxy_pass http://scoring; proxy_request_buffering on; }} }}
    server {{ listen {passing_on}; location / {{ proxy_pass http://scoring; proxy_request_buffering off; }} }}
}}
"""


class Compared(NamedTuple):
    """What was seen.

    Attributes:
        passed_on: requests that nginx passed on.
        taken: requests that the server answered, by the status of the answer.
    """

    passed_on: int
    taken: Counter[int]


@contextlib.contextmanager
def proxying(nginx: str, folder: Path, upstream: str, ports: tuple[int, int]) -> Iterator[None]:
    """Run nginx in front of a server, on a port where it waits for whole bodies and on one where it does not."""
    configuration = folder / "nginx.conf"
    configuration.write_text(_CONFIGURATION.format(upstream=upstream, buffering=ports[0], passing_on=ports[1]))
    process = subprocess.Popen([nginx, "-p", f"{folder}/", "-c", str(configuration), "-e", "stderr"])
    try:
        yield
    finally:
        process.terminate()
        process.wait(15)


def play(ports: tuple[int, int], mutator: Mutator, count: int) -> None:
    """Send requests to both ports of nginx in turns."""
    asyncio.run(_play(ports, mutator, count))


async def _play(ports: tuple[int, int], mutator: Mutator, count: int) -> None:
    left = count

    async def client() -> None:
        nonlocal left
        while left > 0:
            left -= 1
            await _exchange(ports[left % 2], mutator.make())

    await asyncio.gather(*(client() for _ in range(min(_AT_ONCE, count))))


async def _exchange(port: int, data: bytes) -> None:
    """Send a request and read until nothing more comes; nginx takes the end of a client's side for its leaving."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    with contextlib.suppress(ConnectionError, asyncio.TimeoutError):
        writer.write(data)
        await writer.drain()
        while await asyncio.wait_for(reader.read(65536), _QUIET_S):
            pass
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()


def compare(folder: Path, server_log: str) -> Compared:
    """Return what both have seen.

    Args:
        folder: the folder of nginx.
        server_log: the server's lines, as JSON.

    Raises:
        JudgementError: the server took something for a request that nginx did not pass on as one.
    """
    lines = [line.partition(" ") for line in (folder / "ids.log").read_text().splitlines()]
    passed_on = {identity for identity, _, status in lines if status != "-"}
    known = {identity for identity, _, _ in lines}
    taken: Counter[int] = Counter()
    seen: Counter[str] = Counter()
    for line in server_log.splitlines():
        record = json.loads(line) if line.startswith("{") else {}
        if record.get("logger") != "gunicorn.access" or record.get("path") == "/metrics":
            continue
        identity, status = record["request_id"], record["status"]
        taken[status] += 1
        seen[identity] += 1
        if identity not in known and not _is_refusal(status):
            raise JudgementError(f"nginx did not pass this on: {line}")
        if seen[identity] > 1:
            raise JudgementError(f"this came twice: {line}")
    return Compared(len(passed_on), taken)


def _is_refusal(status: int) -> bool:
    """Return whether an answer of this status may be to bytes that are no request, which have no id."""
    return status in (400, 405, 408, 413, 431, 501, 505)
