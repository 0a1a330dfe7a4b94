"""The server as an application of Ray Serve: ``serve run azmlinfsrv.ray:build entry_script=score.py``.

What listens, starts processes, scales and replaces them is Ray; each replica is the same app as a worker.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from azmlinfsrv import ray_arguments
from azmlinfsrv.errors import ConfigurationError

if TYPE_CHECKING:
    from azmlinfsrv.replica import Replica

DEPLOYMENT = "scoring"


def build(args: dict[str, Any]) -> Any:
    """Return the Serve application that serves a script; Ray Serve calls this with the arguments given to it.

    Args:
        args: settings of the server and options of Ray's, see `ray_arguments.parse`.

    Raises:
        ConfigurationError: Ray Serve is not installed, or an argument cannot be used.
    """
    arguments = ray_arguments.parse(args)
    serve = _serve()
    deployment = serve.deployment(
        serve.ingress(_starter(arguments.settings, os.getcwd()))(_Scoring),
        name=DEPLOYMENT,
        **{**ray_arguments.DEFAULTS, **arguments.options},
    )
    return deployment.bind()


class _Scoring:
    """The deployment; Ray makes one of each replica, with the ASGI application as its `app`."""

    app: Replica

    async def check_health(self) -> None:
        """See `Replica.check_health`."""
        await self.app.check_health()


def _starter(settings: Mapping[str, Any], folder: str) -> Any:
    """Return what Ray calls in the process of a replica to get its ASGI application."""

    def start() -> Replica:
        from azmlinfsrv import replica

        return replica.start(settings, folder)

    return start


def _serve() -> Any:
    """Return the module ray.serve.

    Raises:
        ConfigurationError: it is not installed.
    """
    try:
        from ray import serve
    except ModuleNotFoundError as error:
        message = f"Ray Serve is not installed ({error}). Run: pip install 'azmlinfsrv[ray]'"
        raise ConfigurationError(message) from error
    return serve
