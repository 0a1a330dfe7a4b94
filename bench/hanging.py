"""Hangs in native code where a request asks for it; `free` or `held` is the interpreter lock meanwhile."""

import ctypes
import json
import os
from typing import Any


def init() -> None:
    """Load nothing."""


def run(data: str) -> Any:
    """Hang, or answer with the process."""
    way = json.loads(data).get("hang")
    if way:
        # PyDLL keeps the interpreter lock while it calls, CDLL does not.
        library = ctypes.PyDLL(None) if way == "held" else ctypes.CDLL(None)
        mutex = ctypes.create_string_buffer(64)
        library.pthread_mutex_lock(mutex)
        library.pthread_mutex_lock(mutex)
    return os.getpid()
