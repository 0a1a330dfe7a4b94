"""The addresses that a server listens on."""

from __future__ import annotations

import errno
import socket

import pytest

from azmlinfsrv.settings import Settings
from azmlinfsrv.sockets import bind, ports


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
