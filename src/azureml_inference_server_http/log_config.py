"""Classes that a ``logging.json`` of the user's names."""

from azmlinfsrv.logs import AMLLogFormatter, RootAccessFilter

__all__ = ["AMLLogFormatter", "RootAccessFilter"]
