"""The log may have nowhere to go: requests are answered, and workers replaced, anyway."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.ports import ReservedPort
from tests.process.asking import answer_of
from tests.servers import RunningServer, server_command, server_environment

pytestmark = pytest.mark.process

LIMIT_BLOCKS = 40


class Pipe:
    """A pipe whose reader can leave.

    Args:
        path: its name.
    """

    def __init__(self, path: Path) -> None:
        os.mkfifo(path)
        self._reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        os.set_blocking(self._reader, True)
        self._writer = os.open(path, os.O_WRONLY)  # so that the reader does not meet an end before the server begins
        self._thread = threading.Thread(target=self._read)
        self._thread.start()

    def leave(self) -> None:
        """Have the reader end, so that writing fails."""
        if self._reader >= 0:
            reader, self._reader = self._reader, -1
            os.write(self._writer, b"\0leave\0")
            self._thread.join()
            os.close(reader)
            os.close(self._writer)

    def _read(self) -> None:
        reader, seen = self._reader, b""
        while b"\0leave\0" not in seen:
            seen = seen[-10:] + os.read(reader, 65536)


@pytest.fixture
def pipe(tmp_path: Path) -> Iterator[Pipe]:
    """A pipe for the log."""
    made = Pipe(tmp_path / "pipe")
    yield made
    made.leave()


@pytest.fixture
def in_shell() -> Iterator[ExitStack]:
    """Ends what is started."""
    with ExitStack() as stack:
        yield stack


def start(stack: ExitStack, scripts: Path, folder: Path, before: str, *arguments: str, **env: str) -> RunningServer:
    """Start a server by a shell, which does something before it becomes the server."""
    port = stack.enter_context(ReservedPort()).number
    command = ["sh", "-c", before, "sh", *server_command(scripts / "steps.py", port, arguments)]
    running = RunningServer(command, port, folder, server_environment(env))
    stack.callback(running.stop)
    running.wait_ready()
    return running


@pytest.mark.parametrize("preload", ["false", "true"])
def test_nobody_reads_the_log_any_more(
    in_shell: ExitStack, scripts: Path, tmp_path: Path, pipe: Pipe, preload: str
) -> None:
    """After the reader of stdout and stderr has ended, requests are answered, and dead and old workers replaced."""
    running = start(in_shell, scripts, tmp_path, f'exec "$@" >{tmp_path}/pipe 2>&1', WORKER_PRELOAD=preload)
    first = answer_of(running, "pid")
    pipe.leave()
    for _ in range(5):
        assert answer_of(running, "output") == "written"
    os.kill(first, signal.SIGKILL)
    running.wait_ready()
    second = answer_of(running, "pid")
    assert second != first
    running.process.send_signal(signal.SIGHUP)
    running.wait_until(lambda: answer_of(running, "pid") not in (first, second))
    running.process.send_signal(signal.SIGTERM)
    assert running.wait_exit() == 0


@pytest.mark.skipif(sys.platform == "darwin", reason="file sizes are limited in other units")
def test_no_room_for_the_log(in_shell: ExitStack, scripts: Path, tmp_path: Path) -> None:
    """When nothing more can be written to the log, every request still gets its answer."""
    # Compiled modules must not be written meanwhile: Python 3.11 leaves those behind that it could write half of.
    shell = f'ulimit -f {LIMIT_BLOCKS}; exec "$@"'
    running = start(in_shell, scripts, tmp_path, shell, PYTHONDONTWRITEBYTECODE="1")

    def is_full() -> bool:
        """Ask, and return whether the log has as much as it may."""
        assert answer_of(running, "output") == "written"
        return (tmp_path / "stdout").stat().st_size >= 512 * LIMIT_BLOCKS

    running.wait_until(is_full)
    for _ in range(20):
        assert answer_of(running, "sleep", seconds=0) == "slept"
    assert "log lines lost" in running.stderr and running.stderr.count("File too large") == 1
