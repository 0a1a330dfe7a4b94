"""Printed lines to syslog, which may be slow, or go away and come back: nobody waits for it for long.

Lines are as `logging.handlers.SysLogHandler` writes them (RFC 3164's priority, a zero at the end); that handler waits
for a receiver that does not read, and shows an error for each line.
"""

from __future__ import annotations

import logging
import socket
import threading
import time
from collections.abc import Callable

logger = logging.getLogger("azmlinfsrv")

# How long a line may wait for a receiver that does not read; then lines are dropped for a while.
PATIENCE_S = 0.05
PAUSE_S = 1.0
_USER_FACILITY = 1 << 3
_PRIORITIES = {"stdout": _USER_FACILITY | 6, "stderr": _USER_FACILITY | 3}


class SyslogSink:
    """Sends ``<request id>,<line>`` to syslog; called on any thread.

    Args:
        address: path of a socket, or ``host:port`` (UDP).
        clock: monotonic seconds.

    Raises:
        OSError: the socket cannot be reached.
    """

    def __init__(self, address: str, clock: Callable[[], float] = time.monotonic) -> None:
        host, colon, port = address.rpartition(":")
        self._address = address
        self._host_port = (host, int(port)) if colon and port.isdigit() else None
        self._clock = clock
        self._lock = threading.Lock()
        self._resume = float("-inf")
        self._dropped = 0
        self._socket: socket.socket | None = self._connect()

    def __call__(self, stream: str, request_id: str, line: str) -> None:
        """Send a line, or drop it."""
        data = b"<%d>%b\0" % (_PRIORITIES[stream], f"{request_id},{line}".encode("utf-8", "backslashreplace"))
        with self._lock:
            if self._clock() < self._resume:
                self._dropped += 1
                return
            try:
                if self._socket is None:
                    self._socket = self._connect()
                self._send(data)
            except OSError as error:
                self._give_up(error)
                return
            dropped, self._dropped = self._dropped, 0
        if dropped:
            logger.warning("syslog takes lines again; lines that it did not get: %d", dropped)

    def close(self) -> None:
        """Close the socket."""
        with self._lock:
            if self._socket is not None:
                self._socket.close()
                self._socket = None

    def _send(self, data: bytes) -> None:
        """Send a line; a receiver that was started anew meanwhile gets it at once."""
        assert self._socket is not None  # noqa: S101 - for the type
        try:
            self._socket.sendall(data)
        except (ConnectionError, FileNotFoundError):
            self._socket.close()
            self._socket = None
            self._socket = self._connect()
            self._socket.sendall(data)

    def _give_up(self, error: OSError) -> None:
        if not self._dropped:
            logger.warning("syslog at %s takes no lines: %s", self._address, error)
        self._dropped += 1
        self._resume = self._clock() + PAUSE_S
        if self._socket is not None:
            self._socket.close()  # a stream may have taken a part of the line
            self._socket = None

    def _connect(self) -> socket.socket:
        """Return a connected socket; a Unix socket is one of datagrams, as `/dev/log`, or else a stream."""
        if self._host_port is not None:
            family, kind, protocol, _, address = socket.getaddrinfo(*self._host_port, type=socket.SOCK_DGRAM)[0]
            return _connected(socket.socket(family, kind, protocol), address)
        try:
            return _connected(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM), self._address)
        except OSError:
            return _connected(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM), self._address)


def _connected(sock: socket.socket, address: object) -> socket.socket:
    sock.settimeout(PATIENCE_S)
    try:
        sock.connect(address)  # type: ignore[arg-type]  # of its family
    except OSError:
        sock.close()
        raise
    return sock
