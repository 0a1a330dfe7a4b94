"""Printed lines that go to syslog, also to one that is slow, goes away, or comes back."""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from azmlinfsrv.identity import NO_REQUEST
from azmlinfsrv.syslog import PAUSE_S, SyslogSink
from tests.unit.http_fakes import FakeClock

WAIT_S = 15
MakeSink = Callable[..., SyslogSink]


@pytest.fixture
def sink_of() -> Iterator[MakeSink]:
    """A function that makes sinks for an address, which are closed after the test."""
    made: list[SyslogSink] = []

    def make(address: str, clock: FakeClock | None = None) -> SyslogSink:
        made.append(SyslogSink(address, clock) if clock else SyslogSink(address))
        return made[-1]

    yield make
    for sink in made:
        sink.close()


@pytest.fixture
def udp() -> Iterator[socket.socket]:
    """A receiver of UDP."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
        receiver.bind(("127.0.0.1", 0))
        receiver.settimeout(WAIT_S)
        yield receiver


@pytest.fixture
def unix(tmp_path: Path) -> Iterator[socket.socket]:
    """A receiver like `/dev/log`."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(str(tmp_path / "log"))
        receiver.settimeout(WAIT_S)
        yield receiver


def address_of(receiver: socket.socket) -> str:
    """Return the address as the setting has it."""
    name = receiver.getsockname()
    return name if isinstance(name, str) else f"{name[0]}:{name[1]}"


@pytest.mark.parametrize("kind", ["udp", "unix"])
def test_syslog_gets_id_and_line(kind: str, request: pytest.FixtureRequest, sink_of: MakeSink) -> None:
    """A line arrives as `<request id>,<line>` of the user facility: information of stdout, an error of stderr."""
    receiver: socket.socket = request.getfixturevalue(kind)
    sink = sink_of(address_of(receiver))
    sink("stdout", NO_REQUEST, "User init function invoked.")
    sink("stderr", "04c6f58d-510f-4e3a-933e-60ac20f2707d", "100 % ünsafe %s")
    assert receiver.recv(65536).decode() == f"<14>{NO_REQUEST},User init function invoked.\0"
    assert receiver.recv(65536).decode() == "<11>04c6f58d-510f-4e3a-933e-60ac20f2707d,100 % ünsafe %s\0"


def test_a_stream(tmp_path: Path, sink_of: MakeSink) -> None:
    """A Unix socket that takes connections gets the same lines, one behind the other."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(tmp_path / "log"))
        listener.listen()
        sink = sink_of(str(tmp_path / "log"))
        connection, _ = listener.accept()
        with connection:
            sink("stdout", "a", "one")
            sink("stdout", "a", "two")
            sink.close()
            with connection.makefile("rb") as file:
                assert file.read() == b"<14>a,one\0<14>a,two\0"


def test_one_that_cannot_be_reached_is_told_at_once(tmp_path: Path) -> None:
    """A socket that is not there is an error at the start, not at the first line."""
    with pytest.raises(OSError, match=r"."):
        SyslogSink(str(tmp_path / "nowhere"))


def test_one_that_goes_away_and_comes_back(
    unix: socket.socket, sink_of: MakeSink, caplog: pytest.LogCaptureFixture
) -> None:
    """While it is away lines are dropped, which is said once; one that is back a while later is told how many."""
    address, clock = address_of(unix), FakeClock()
    sink = sink_of(address, clock)
    unix.close()
    with caplog.at_level(logging.WARNING):
        for _ in range(10):
            sink("stdout", "a", "lost")
        Path(address).unlink()
        clock.now += PAUSE_S
        sink("stdout", "a", "lost")
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as back:
            back.bind(address)
            back.settimeout(WAIT_S)
            clock.now += PAUSE_S
            sink("stdout", "a", "found")
            assert back.recv(100) == b"<14>a,found\0"
    assert [record.getMessage() for record in caplog.records][1:] == [
        "syslog takes lines again; lines that it did not get: 11"
    ]


def test_one_that_was_started_anew_loses_nothing(unix: socket.socket, sink_of: MakeSink) -> None:
    """A receiver that has taken the place of another under the same name gets the next line."""
    address = address_of(unix)
    sink = sink_of(address)
    sink("stdout", "a", "one")
    unix.close()
    Path(address).unlink()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as new:
        new.bind(address)
        new.settimeout(WAIT_S)
        sink("stdout", "a", "two")
        assert new.recv(100) == b"<14>a,two\0"


def test_one_that_does_not_read(unix: socket.socket, sink_of: MakeSink) -> None:
    """A receiver whose queue is full is not waited for: lines are dropped until the next try."""
    clock = FakeClock()
    sink = sink_of(address_of(unix), clock)
    for number in range(10_000):
        sink("stdout", "a", f"{number}")
    taken = []
    unix.setblocking(False)
    while True:
        try:
            taken.append(unix.recv(100))
        except BlockingIOError:
            break
    assert 0 < len(taken) < 10_000
    clock.now += PAUSE_S
    sink("stdout", "a", "found")
    assert unix.recv(100) == b"<14>a,found\0"
