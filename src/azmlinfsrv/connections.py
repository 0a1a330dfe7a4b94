"""What the connections of a worker share, and what is done to all of them at once."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Protocol

from azmlinfsrv import wire
from azmlinfsrv.admission import Admission
from azmlinfsrv.app import Application
from azmlinfsrv.logs import LineClock


class Connection(Protocol):
    """A connection, as far as the others know of it."""

    def check_timeout(self, now: float) -> None:
        """Close, with an answer where a request has begun, if the client takes too long."""

    def close_if_idle(self, since: float) -> None:
        """Close if no request is in progress, and nothing has come or gone since then."""

    def abort_connection(self) -> None:
        """Close at once, dropping what has not been sent."""


class ConnectionSet:
    """What the connections of a worker share.

    Attributes:
        app: answers requests.
        limits: sizes and times.
        clock: gives the Date of answers.
        now: clock of the timeouts, in seconds.
        open: the connections.
        changed: called when there is one more or one less, or None.
        closing: whether answers close their connection, because the worker is stopping.
        scheme: ``http`` or ``https``.
        behind_nginx: whether connections are those of our own nginx.
        admission: counts the bodies that arrive, or None.
        half_close_s: how long nothing may have come or gone on a connection whose client has ended its side.
    """

    def __init__(  # noqa: PLR0913 - what a worker's connections share
        self,
        app: Application,
        limits: wire.Limits,
        clock: LineClock,
        now: Callable[[], float],
        scheme: str = "http",
        behind_nginx: bool = False,
        admission: Admission | None = None,
        half_close_s: float = math.inf,
    ) -> None:
        self.app = app
        self.limits = limits
        self.clock = clock
        self.now = now
        self.open: set[Connection] = set()
        self.changed: Callable[[], object] | None = None
        self.closing = False
        self.scheme = scheme
        self.behind_nginx = behind_nginx
        self.admission = admission
        self.half_close_s = half_close_s

    def add(self, connection: Connection) -> None:
        """Note a connection that was made."""
        self.open.add(connection)
        if self.changed is not None:
            self.changed()

    def remove(self, connection: Connection) -> None:
        """Forget a connection that has ended."""
        self.open.discard(connection)
        if self.changed is not None:
            self.changed()

    def check_timeouts(self) -> None:
        """Close the connections that have taken too long."""
        now = self.now()
        for connection in tuple(self.open):
            connection.check_timeout(now)

    def close_idle(self, since: float = math.inf) -> None:
        """Close the connections that have no request in progress, and the others after their answer.

        Args:
            since: only those on which nothing has come or gone since then.
        """
        self.closing = True
        for connection in tuple(self.open):
            connection.close_if_idle(since)

    def abort_all(self) -> None:
        """Break every connection off."""
        for connection in tuple(self.open):
            connection.abort_connection()
