"""The addresses that a server listens on."""

from __future__ import annotations

import os
import socket

from azmlinfsrv.settings import Settings

BACKLOG = 2048


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
