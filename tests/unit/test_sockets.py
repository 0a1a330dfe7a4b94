"""The addresses that a server listens on."""

from __future__ import annotations

import errno
import os
import socket
import tempfile

import pytest

from azmlinfsrv.settings import Settings
from azmlinfsrv.sockets import bind, bind_unix, is_internal_peer, parse_internal_address, ports, spelt


def has_ipv6() -> bool:
    """Return whether the loopback interface has an IPv6 address."""
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "0.0.0.0"])  # noqa: S104 - what is tested
def test_bind(host: str) -> None:
    """A socket is bound to the address and does not listen yet."""
    with bind(host, 0) as sock:
        assert sock.family == socket.AF_INET
        assert sock.getsockname()[1] > 0
        with socket.socket() as client, pytest.raises(ConnectionRefusedError):
            client.connect(("127.0.0.1", sock.getsockname()[1]))


@pytest.mark.skipif(not has_ipv6(), reason="the loopback interface has no IPv6 address")
def test_bind_ipv6() -> None:
    """An address with colons is one of IPv6."""
    with bind("::1", 0) as sock:
        assert sock.family == socket.AF_INET6


def test_bind_to_a_port_in_use() -> None:
    """A port that somebody listens on cannot be bound."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        with pytest.raises(OSError, match="in use") as caught:
            bind("127.0.0.1", other.getsockname()[1])
    assert caught.value.errno == errno.EADDRINUSE


def test_bind_to_another_machines_address() -> None:
    """An address that is none of this machine's cannot be bound."""
    with pytest.raises(OSError, match="assign") as caught:
        bind("192.0.2.1", 0)
    assert caught.value.errno == errno.EADDRNOTAVAIL


def test_bind_after_a_connection() -> None:
    """A port whose last connection the server has just closed can be bound again at once."""
    with bind("127.0.0.1", 0) as sock:
        sock.listen()
        address = sock.getsockname()
        with socket.create_connection(address) as client:
            sock.accept()[0].close()
            assert client.recv(1) == b""
    bind(*address).close()


def test_ports() -> None:
    """There is one port, and a second one where health probes have their own."""
    settings = Settings(port=5001, health_port=5000)
    assert ports(settings) == [5001]
    assert ports(Settings(port=5001, health_port=5000, separate_health_endpoint=True)) == [5001, 5000]


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:31311", ("127.0.0.1", 31311)),
        ("127.0.0.7:1", ("127.0.0.7", 1)),
        ("[::1]:2", ("::1", 2)),
        ("unix:/run/a b.sock", "/run/a b.sock"),
    ],
)
def test_internal_address(text: str, address: object) -> None:
    """The server behind nginx listens on a loopback address or a Unix socket."""
    assert parse_internal_address(text) == address


@pytest.mark.parametrize(
    ("host", "internal"),
    [("", True), ("127.0.0.1", True), ("127.9.9.9", True), ("::1", True), ("10.0.0.1", False), ("::2", False)],
)
def test_internal_peer(host: str, internal: bool) -> None:
    """Peers of this machine are known by their address."""
    assert is_internal_peer(host) is internal


def test_bind_unix() -> None:
    """A socket's name that was left behind is used again, and one that somebody listens on is not."""
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/a.sock"
        bind_unix(path).close()
        with bind_unix(path) as sock:
            assert os.stat(path).st_mode & 0o777 == 0o600
            sock.listen()
            with pytest.raises(OSError, match="in use"):
                bind_unix(path)


def test_bind_unix_spares_files() -> None:
    """A file that is no socket is not removed."""
    with tempfile.NamedTemporaryFile() as file:
        with pytest.raises(OSError, match="in use"):
            bind_unix(file.name)
        assert os.path.exists(file.name)


def test_spelt() -> None:
    """An IPv6 host is written in brackets."""
    assert (spelt("::1", 1), spelt("a", 2)) == ("[::1]:1", "a:2")
