"""Fixtures for tests of real servers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Protocol

import pytest

from tests.conftest import RequireProgram
from tests.ports import ReservedPort
from tests.servers import RunningServer, server_command, server_environment

SCRIPTS = Path(__file__).parent / "scripts"


class SharedServer(Protocol):
    """Type of the fixture `shared_server`."""

    def __call__(self, name: str, *args: str, env: Mapping[str, str] | None = None) -> RunningServer:
        """Return the server of a script of `scripts`, started with these arguments by the first test that asks."""


@pytest.fixture(scope="session")
def scripts() -> Path:
    """The folder of the scoring scripts."""
    return SCRIPTS


@pytest.fixture(scope="module")
def shared_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SharedServer]:
    """A function that starts servers which the tests of a module share: those that change nothing in them."""
    servers: dict[object, RunningServer] = {}
    stack = ExitStack()

    def get(name: str, *args: str, env: Mapping[str, str] | None = None) -> RunningServer:
        key = (name, args, tuple(sorted((env or {}).items())))
        if key not in servers:
            port = stack.enter_context(ReservedPort()).number
            command = server_command(SCRIPTS / name, port, args)
            folder = tmp_path_factory.mktemp("server")
            servers[key] = RunningServer(command, port, folder, server_environment(env or {}))
            stack.callback(servers[key].stop)
            servers[key].wait_ready()
        return servers[key]

    with stack:
        yield get


@pytest.fixture(scope="module")
def nginx(require_program: RequireProgram) -> str:
    """The program nginx."""
    return require_program("nginx")


@pytest.fixture
def internal() -> Iterator[str]:
    """An address for the server behind nginx, one server at a time."""
    with ReservedPort() as port:
        yield f"127.0.0.1:{port.number}"
