"""``rawhttp`` and ``AMLRequest`` for scoring scripts."""

from azmlinfsrv.api import AMLRequest, rawhttp

__all__ = ["AMLRequest", "rawhttp"]
