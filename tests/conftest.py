"""Fixtures for all tests."""

from __future__ import annotations

import os
import shutil
import textwrap
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Protocol

import pytest

from tests.ports import ReservedPort
from tests.servers import RunningServer, server_command, server_environment

PROJECT = Path(__file__).resolve().parent.parent
# Where scripts/test puts the programs that it does not install for the whole system.
PROGRAMS = [PROJECT / ".cache" / "programs" / "usr" / "bin", PROJECT / ".cache" / "azurite" / "node_modules" / ".bin"]
# What a test tells the summary at the end, from whichever process it runs in; the fixture `record_property` takes it.
CONFORMANCE = "conformance"  # how a case of that suite came out: equal, intended or unlisted
MEASURED = "measured"  # a line to print
Record = Callable[[str, object], None]


class RequireProgram(Protocol):
    """Type of the fixture `require_program`."""

    def __call__(self, name: str) -> str:
        """Return the program's path, or skip the test (fail it, where programs are required)."""


class StartServer(Protocol):
    """Type of the fixture `server`."""

    def __call__(
        self,
        script: str | Path | None,
        *args: str,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        wait: bool = True,
    ) -> RunningServer:
        """Start a server on a port of its own.

        Args:
            script: path of the scoring script, or its source, which is written to a file; None starts none.
            *args: more arguments of the command line.
            env: variables of its environment, which has nothing else but PATH, HOME and the like.
            cwd: its working directory, unless a new one will do.
            wait: whether to wait until it is ready.
        """


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Where several processes share the files out, begin with those that take long, so that none is left to the end."""

    def takes(item: pytest.Item) -> int:
        return 2 if item.get_closest_marker("long") else 1 if item.get_closest_marker("process") else 0

    if hasattr(config, "workerinput"):
        items.sort(key=takes, reverse=True)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what tests measured, and how many cases of the conformance suite came out how."""
    reports = [report for group in terminalreporter.stats.values() for report in group]
    told = [told for report in reports if getattr(report, "when", "") == "call" for told in report.user_properties]
    for line in sorted(str(value) for name, value in told if name == MEASURED):
        terminalreporter.write_line(line)
    outcomes = [value for name, value in told if name == CONFORMANCE]
    if outcomes:
        equal, intended = outcomes.count("equal"), outcomes.count("intended")
        text = f"conformance: {len(outcomes)} cases, {equal} equal, {intended} intended differences"
        terminalreporter.write_line(text)


@pytest.fixture(scope="session")
def project() -> Path:
    """The project's root directory."""
    return PROJECT


@pytest.fixture
def anyio_backend() -> str:
    """The only event loop that the server runs on."""
    return "asyncio"


@pytest.fixture(scope="session")
def require_program() -> RequireProgram:
    """A function that skips a test whose program is missing.

    With AZMLINFSRV_REQUIRE_PROGRAMS=1, as in continuous integration, it fails the test instead.
    """

    def require(name: str) -> str:
        folders = [os.environ.get("PATH", os.defpath), "/usr/local/sbin", "/usr/sbin", *PROGRAMS]
        path = shutil.which(name, path=os.pathsep.join(map(str, folders)))
        if path is None:
            reason = f"the program {name} is not installed"
            if os.environ.get("AZMLINFSRV_REQUIRE_PROGRAMS") == "1":
                pytest.fail(reason)
            pytest.skip(reason)
        return path

    return require


@pytest.fixture
def server(tmp_path: Path) -> Iterator[StartServer]:
    """A function that starts servers; each is stopped after the test and must leave nothing running."""
    started: list[RunningServer] = []
    ports = ExitStack()

    def start(
        script: str | Path | None,
        *args: str,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        wait: bool = True,
    ) -> RunningServer:
        folder = tmp_path / f"server-{len(started)}"
        folder.mkdir()
        if isinstance(script, str):
            source, script = script, folder / "score.py"
            script.write_text(textwrap.dedent(source), "utf-8")
        port = ports.enter_context(ReservedPort()).number
        command = server_command(script, port, args)
        running = RunningServer(command, port, folder, server_environment(env or {}), cwd)
        started.append(running)
        if wait:
            running.wait_ready()
        return running

    with ports:
        yield start
        failures = [failure for running in started if (failure := _stop(running))]
    assert not failures, "\n".join(failures)


def _stop(running: RunningServer) -> str:
    """Stop a server; return what was wrong about it, empty when nothing was."""
    try:
        running.stop()
    except AssertionError as error:
        return str(error)
    return ""
