"""Ports that stay a test's own."""

from __future__ import annotations

import socket
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing_extensions import Self


class ReservedPort:
    """A TCP port of this machine that nobody else is given before it is closed. Use it as a context manager.

    A socket that does not listen holds the port: connections are refused, the system gives the port neither to
    another test nor to an outgoing connection, and a server that sets SO_REUSEADDR, as ours and gunicorn do,
    can listen on it. Systems other than Linux let nobody share a port, so that it is let go of there at once.

    Attributes:
        number: the port's number.
    """

    def __init__(self) -> None:
        self._holder = socket.socket()
        self._holder.bind(("", 0))  # without SO_REUSEADDR, so that no port is chosen that connections linger on
        self.number: int = self._holder.getsockname()[1]
        if sys.platform == "linux":
            self._holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        else:
            self._holder.close()

    def __enter__(self) -> Self:
        """Give the port."""
        return self

    def __exit__(self, *_: object) -> None:
        """Let the port go."""
        self._holder.close()

    def occupy(self) -> None:
        """Listen on the port, so that a server cannot."""
        if sys.platform != "linux":
            self._holder = socket.socket()
            self._holder.bind(("", self.number))
        self._holder.listen()
