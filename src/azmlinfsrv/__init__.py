"""Serves a scoring script (``init()`` and ``run()``) over HTTP.

`rawhttp`, `AMLRequest` and `AMLResponse` are imported at their first use, because they need Flask.
"""

from typing import TYPE_CHECKING, Any

from azmlinfsrv._version import __version__

if TYPE_CHECKING:
    from azmlinfsrv.api import AMLRequest, AMLResponse, rawhttp

__all__ = ["AMLRequest", "AMLResponse", "__version__", "rawhttp"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        from azmlinfsrv import api

        return getattr(api, name)
    message = f"module {__name__!r} has no attribute {name!r}"
    raise AttributeError(message)
