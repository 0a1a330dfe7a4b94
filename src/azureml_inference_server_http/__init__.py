"""The import name of the server that azmlinfsrv replaces: existing scripts run unchanged."""

from azmlinfsrv._version import __version__

__all__ = ["__version__"]
