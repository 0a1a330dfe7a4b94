"""Serves a scoring script (``init()`` and ``run()``) over HTTP.

`rawhttp`, `AMLRequest` and `AMLResponse` are imported at their first use, because they need Flask; `Array` and
`Frame` annotate arrays and data frames of a typed ``run()``; `batched` has it called with several requests at a time.
"""

import importlib
from typing import TYPE_CHECKING, Any

from azmlinfsrv._version import __version__

if TYPE_CHECKING:
    from azmlinfsrv.api import AMLRequest, AMLResponse, rawhttp
    from azmlinfsrv.arrays import Array, Frame
    from azmlinfsrv.batching import batched

__all__ = ["AMLRequest", "AMLResponse", "Array", "Frame", "__version__", "batched", "rawhttp"]

if not TYPE_CHECKING:  # type checkers see the imports above, and mistakes in names
    _MODULES = {
        "AMLRequest": "azmlinfsrv.api",
        "AMLResponse": "azmlinfsrv.api",
        "Array": "azmlinfsrv.arrays",
        "Frame": "azmlinfsrv.arrays",
        "batched": "azmlinfsrv.batching",
        "rawhttp": "azmlinfsrv.api",
    }

    def __getattr__(name: str) -> Any:
        if name in _MODULES:
            return getattr(importlib.import_module(_MODULES[name]), name)
        message = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(message)
