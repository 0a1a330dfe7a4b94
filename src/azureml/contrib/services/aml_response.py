"""``AMLResponse`` for scoring scripts."""

from azmlinfsrv.api import AMLResponse

__all__ = ["AMLResponse"]
