"""The addresses that a server listens on."""

from __future__ import annotations

import contextlib
import ipaddress
import os
import socket
import stat

from azmlinfsrv.errors import ConfigurationError
from azmlinfsrv.settings import Settings

BACKLOG = 2048
# How long nginx keeps an idle connection to the server. The server keeps them longer, so that it never closes one that
# nginx is about to use; a worker that ends keeps them for PROXY_LAST_IDLE_S, in which nginx has used or closed each.
PROXY_IDLE_S, PROXY_LAST_IDLE_S, SERVER_IDLE_S = 4, 5, 600
# What struct sockaddr_un holds on every system.
_UNIX_PATH_BYTES = 100


def bind(host: str, port: int) -> socket.socket:
    """Return a socket bound to an address, not listening yet.

    Raises:
        OSError: the address is in use, or not one of this machine.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        if os.name == "posix":
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((host, port))
    except OSError:
        sock.close()
        raise
    return sock


def ports(settings: Settings) -> list[int]:
    """Return the ports to listen on."""
    return [settings.port, settings.health_port] if settings.separate_health_endpoint else [settings.port]


def parse_internal_address(text: str) -> tuple[str, int] | str:
    """Return where the server listens behind nginx: host and port, or the path of a Unix socket.

    Raises:
        ConfigurationError: it is neither a loopback address and port nor ``unix:`` and an absolute path.
    """
    expected = f"server_address {text!r} is not valid: expected a loopback address and port, or unix:/path"
    if text.startswith("unix:"):
        path = text[len("unix:") :]
        if not os.path.isabs(path) or not path.isprintable() or len(os.fsencode(path)) > _UNIX_PATH_BYTES:
            raise ConfigurationError(f"{expected} of up to {_UNIX_PATH_BYTES} bytes")
        return path
    host, _, port = text.rpartition(":")
    try:
        address = ipaddress.ip_address(host.removeprefix("[").removesuffix("]") if ":" in host else host)
    except ValueError:
        raise ConfigurationError(expected) from None
    if not (address.is_loopback and port.isascii() and port.isdecimal() and 0 < int(port) < 65536):
        raise ConfigurationError(expected)
    return str(address), int(port)


def is_internal_peer(host: str) -> bool:
    """Return whether a peer is on this machine: "" is a Unix socket's."""
    return host in ("", "::1") or host.startswith("127.")


def bind_unix(path: str) -> socket.socket:
    """Return a Unix socket bound to a path, not listening yet; one that nobody listens on any more is replaced.

    Only this user may connect.

    Raises:
        OSError: the path is in use, or cannot be made.
    """
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with contextlib.suppress(FileNotFoundError):
            if stat.S_ISSOCK(os.stat(path).st_mode) and not _answers(path):
                os.unlink(path)
        sock.bind(path)
        os.chmod(path, 0o600)
    except OSError:
        sock.close()
        raise
    return sock


def _answers(path: str) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        try:
            sock.connect(path)
        except ConnectionRefusedError:
            return False
        return True


def spelt(host: str, port: int) -> str:
    """Return an address as it is written: an IPv6 host in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
