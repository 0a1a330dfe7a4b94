"""One run of the fuzzer: in memory, against a real server, and between nginx and it."""

from __future__ import annotations

import contextlib
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil

from tests.fuzz import between, live, memory
from tests.fuzz.corpus import seeds
from tests.fuzz.judging import JudgementError
from tests.fuzz.mutation import Mutator
from tests.ports import ReservedPort
from tests.servers import RunningServer, server_command, server_environment

SCRIPT = Path(__file__).parent / "scripts" / "count.py"
_BREAKDOWNS = ("Traceback", "Exception in callback", "was never retrieved", "Exception in thread", "Fatal Python")
_LIMITS = {
    "AZMLINFSRV_HOST": "127.0.0.1",
    "AZMLINFSRV_MAX_BODY_BYTES": "20000",
    "AZMLINFSRV_MAX_HEADER_BYTES": "4096",
}
# What a server may hold more at the end than after its first requests: caches fill, and the allocator keeps some.
_MORE_BYTES = 64 * 1024 * 1024
_WARM_UP = 500


@contextlib.contextmanager
def _server(folder: Path, *arguments: str) -> Iterator[RunningServer]:
    with ReservedPort() as port:
        command = server_command(SCRIPT, port.number, arguments)
        server = RunningServer(command, port.number, folder, server_environment(_LIMITS))
        try:
            server.wait_ready()
            yield server
        finally:
            server.stop()
        found = [words for words in _BREAKDOWNS if words in server.output]
        if found:
            raise JudgementError(f"the log has {found}: {server.output[-9000:]}")


def _processes(server: RunningServer) -> list[psutil.Process]:
    leader = psutil.Process(server.process.pid)
    return [leader, *leader.children(recursive=True)]


def fuzz_memory(seed: int, count: int) -> Counter[int]:
    """Play requests against the protocol in memory; see `memory.play`."""
    return memory.play(Mutator(seeds(), seed), count)


def fuzz_server(seed: int, count: int, folder: Path) -> tuple[Counter[int], live.Usage, live.Usage]:
    """Play requests against a server of one worker.

    Returns:
        The statuses, and what its processes held after the first requests and at the end.

    Raises:
        JudgementError: an answer must not be, a connection hangs, a process ended, or descriptors or memory grew.
    """
    with _server(folder) as server:
        address, mutator = ("127.0.0.1", server.port), Mutator(seeds(), seed)
        seen = live.play(address, mutator, min(_WARM_UP, count))
        processes = _processes(server)
        before = _settled(server, processes)
        seen += live.play(address, mutator, max(0, count - _WARM_UP))
        after = _settled(server, processes)
        if not httpx.get(f"{server.url}/score", trust_env=False).is_success:
            raise JudgementError(f"it serves no more: {server.output[-9000:]}")
        if [each.pid for each in _processes(server)] != [each.pid for each in processes]:
            raise JudgementError(f"a process was replaced: {server.output[-9000:]}")
    if after.descriptors > before.descriptors or after.memory_bytes > before.memory_bytes + _MORE_BYTES:
        raise JudgementError(f"it grew from {before} to {after}")
    return seen, before, after


def _settled(server: RunningServer, processes: list[psutil.Process]) -> live.Usage:
    """Return what processes hold once the connections of before are closed."""
    server.client.close()
    server.wait_until(lambda: not any(_connections(each) for each in processes))
    return live.usage(processes)


def _connections(process: psutil.Process) -> list[object]:
    return [each for each in process.net_connections("tcp") if each.status != psutil.CONN_LISTEN]


def fuzz_between(nginx: str, seed: int, count: int, folder: Path) -> between.Compared:
    """Play requests through nginx; see `between.compare`.

    Raises:
        JudgementError: the server took something for a request that nginx did not pass on as one.
    """
    with ReservedPort() as one, ReservedPort() as two, _server(folder, "--log_format", "json") as server:
        ports = one.number, two.number
        os.chmod(folder, 0o755)  # noqa: S103 - nginx's workers may be another user's
        with between.proxying(nginx, folder, f"127.0.0.1:{server.port}", ports):
            server.wait_until(lambda: all(map(_is_listening, ports)))
            between.play(ports, Mutator(seeds(), seed), count)
            server.wait_until(lambda: httpx.get(f"http://127.0.0.1:{ports[0]}/live", trust_env=False).is_success)
    return between.compare(folder, server.stdout)


def _is_listening(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/live", trust_env=False).is_success
    except httpx.TransportError:
        return False
